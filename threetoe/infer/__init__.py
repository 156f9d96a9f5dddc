"""Questions in, answers out, figures beside them."""
