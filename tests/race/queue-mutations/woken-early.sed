# io.c: the worker is woken before the request is in the list
/^static blk_status_t vhd_queue_rq(/,/^}/ s/^\t\tvhd_queue_kick(hq, single);$/\t\tcpu_relax();/
/^static blk_status_t vhd_queue_rq(/,/^}/ s/^\tllist_add(&cmd->node, &hq->list);$/\tif (bd->last)\n\t\tvhd_queue_kick(hq, single);\n&/
