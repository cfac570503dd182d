# compact.c: entries are not made durable before their old places are used again
s/return err || !any ? err : flush(j);/return err;/
