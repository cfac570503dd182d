# io.c: a member is filled in when the request is in the list already
/^static blk_status_t vhd_queue_rq(/,/^}/ s/^\tcmd->done = 0;$//
/^static blk_status_t vhd_queue_rq(/,/^}/ s/^\tllist_add(&cmd->node, &hq->list);$/&\n\tcmd->done = 0;/
