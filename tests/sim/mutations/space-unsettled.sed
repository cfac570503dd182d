# space.c: free space is used although the table as it was read may not be durable
/^static bool vhd_space_unsettled(/,/^}/ s/unsettled = sp->unsettled/unsettled = 0/
