# open.c: a stale tail is taken for fresh space
s/sp->stale = sp->tail > .*;/sp->stale = false;/
