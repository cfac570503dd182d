# unmap.c: slots are free when a commit takes them, before their entries are durable
/^void vhd_unmap_take(/,/^}/ s/^\tun->nr_taken = .*/&\n\tfor (u32 i = 0; i < un->nr_taken; i++)\n\t\tvhd_space_give(img, un->taken[i].sector);/
/^void vhd_unmap_publish(/,/^}/ s/i < un->nr_taken/0/
