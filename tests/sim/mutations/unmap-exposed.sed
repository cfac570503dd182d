# bat.c: a slot that a failed commit may have published is free at once
/^bool vhd_new_drop(/,/^}/ s/if (nb->exposed)/if (0)/
