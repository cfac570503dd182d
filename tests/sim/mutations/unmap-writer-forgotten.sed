# bat.c: the slot of an unmapped new block does not wait for its writers
/^bool vhd_new_drop(/,/^}/ s/^\tif (!nb->users) {/\tvhd_space_give(img, nb->sector);\n&/
