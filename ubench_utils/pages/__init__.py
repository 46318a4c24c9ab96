"""From notebooks to executed pages, and from these to the site."""
