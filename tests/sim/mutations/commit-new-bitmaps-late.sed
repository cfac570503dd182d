# commit.c: bitmaps of new blocks are written in phase 2, beside the entries
s/^static int vhd_commit_next(.*/static u32 late;\n&/
/case VHD_COMMIT_NEW_BITMAPS:/,/case VHD_COMMIT_FLUSH_1:/ s/if (vhd_commit_new_bitmap(c, io))/if (0)/
s/c->step = VHD_COMMIT_BITMAPS;/& late = 0;/
s/^\t\tif (vhd_commit_bitmap(c, false, io))$/\t\tif ((c->cursor = late++) < c->nr_taken \&\& vhd_commit_new_bitmap(c, io)) return 1;\n&/
