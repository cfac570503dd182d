# device.c: an image is closed and its memory kept
/^void vhd_layer_close(/,/^}/ s/^\tkfree(layer);$//
