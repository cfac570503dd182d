# commit.c: what a failed commit had taken is not done again
/^static int vhd_commit_finish(/,/^}/ s/vhd_commit_untake(c);/(void)vhd_commit_untake;/
