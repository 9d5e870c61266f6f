"""Files of vectors as people hold them: what one holds, which of it is what, and several of them as one set."""
