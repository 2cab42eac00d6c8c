"""One ML run for a low-resource language, from data to a deployment decision."""
