# commit.c: bits of mapped blocks are written in phase 1, beside their data
/case VHD_COMMIT_NEW_BITMAPS:/,/case VHD_COMMIT_FLUSH_1:/ s/c->step = VHD_COMMIT_FLUSH_1;/if (vhd_commit_bitmap(c, false, io)) return 1;\n&/
