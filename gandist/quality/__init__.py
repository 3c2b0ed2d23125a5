"""How good generated images are: features, and what is computed from them."""
