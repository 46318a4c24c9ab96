"""Models that answer in words: what they are asked, how they are run, and how a reply becomes an answer."""
