"""The roof: what is shown in a notebook. Nobody imports it."""
