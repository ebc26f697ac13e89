"""Group-relative policy optimisation in Flax and optax, with a selector in the loop."""
