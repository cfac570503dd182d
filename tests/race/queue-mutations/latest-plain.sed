# io.c: the request queued last is written as if nobody looked
/^static bool vhd_queue_single(/,/^}/ s/WRITE_ONCE(hq->latest, cmd);/hq->latest = cmd;/
