# commit.c: bits are written as they are by then, not as the epoch took them
/^static int vhd_commit_bitmap(/,/^}/ s/bm->taken)/bm->live)/
