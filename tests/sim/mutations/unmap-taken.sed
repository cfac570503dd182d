# bat.c: a block that the running commit publishes loses its slot at once
/^bool vhd_new_drop(/,/^}/ s/nb->state = VHD_NEW_LEFT;/vhd_space_give(img, nb->sector); &/
