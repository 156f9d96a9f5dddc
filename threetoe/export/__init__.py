"""Check all, write beside, prove, rename, push."""
