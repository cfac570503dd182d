# commit.c: cleared entries are not written to the table
s/c->nr_unmapped = img->unmaps.nr_taken;/c->nr_unmapped = 0;/
