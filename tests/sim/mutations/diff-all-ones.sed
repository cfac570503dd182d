# commit.c: a new block of a differencing image gets a bitmap of all ones
/^static int vhd_commit_new_bitmap/,/^}/ s/if (c->img->type == VHD_TYPE_DIFFERENCING)/if (0)/
