# unmap.c: a commit that failed takes its unmapped blocks for done
/^void vhd_unmap_untake(/,/^}/ s/^\tun->nr_pending += un->nr_taken;/\tvhd_unmap_publish(img);/
