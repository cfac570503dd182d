# commit.c: the first flush is left out if some blocks are in fresh slots
s/return c->fresh == c->nr_taken/return (c->fresh || !c->nr_taken)/
