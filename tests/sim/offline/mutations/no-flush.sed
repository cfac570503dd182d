# compact.c: copies are not made durable before the entries lead there
/^static int move_round(/,/^}/ s/err = flush(j);/err = 0;/
