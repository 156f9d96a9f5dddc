"""Base shards and adapter in, merged shards out; no model, and no proof."""
