# io.c: the last of several took the fast lane, and nobody is woken for the others
/^static bool vhd_take_lane(/,/^}/ s/^\tif (last && !llist_empty(&hq->list))$/\tif (0)/
