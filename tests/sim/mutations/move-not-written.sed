# move.c: no commit knows that the entry has changed
s/^\timg->counters.moves++;/&\n\timg->unmaps.nr_pending--;\n\timg->space.draining.at[img->space.draining.nr++] = m->from;/
