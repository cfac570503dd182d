# io.c: the copy of a request's bvecs is kept when it ends
/^static void vhd_complete_rq(/,/^}/ s/^\tkfree(cmd->bvecs);$//
