# resize.c: a fixed image whose growth has failed keeps the footer of the new size
/^static int vhd_resize_fixed(/,/^}/ s/if (r->size > r->img->size)/if (!r)/
