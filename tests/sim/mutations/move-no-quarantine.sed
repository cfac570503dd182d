# move.c: the old slot is free when the entry in memory leads elsewhere
s/^\timg->counters.moves++;/&\n\timg->unmaps.nr_pending--;\n\tvhd_space_give(img, m->from);/
