# resize.c: a flush that failed is undone like a write, as if the next one would bring back what it lost
/^static int vhd_resize_next(/,/^}/ s/if (err && r->flushing)/if (!r)/
