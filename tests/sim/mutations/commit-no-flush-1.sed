# commit.c: the first flush is left out: entries and bits may come before the data
/case VHD_COMMIT_NEW_BITMAPS:/,/case VHD_COMMIT_FLUSH_1:/ s/return vhd_commit_flush(c, io);/if (!c->nr_taken \&\& !c->bitmaps) return vhd_commit_flush(c, io); c->cursor = 0; fallthrough;/
