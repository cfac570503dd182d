# commit.c: the first flush is left out although bits of older blocks are written
s/c->fresh == c->nr_taken \&\& !c->bitmaps/c->fresh == c->nr_taken/
