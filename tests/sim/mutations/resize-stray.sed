# resize.c: what a failed growth has left behind the footer stays there
s/READ_ONCE(img->space.ragged) ?/0 ?/
