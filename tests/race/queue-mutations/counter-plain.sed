# linger.c: a counter is written as if nobody read it
s/WRITE_ONCE(l->sleeps, l->sleeps + 1);/l->sleeps++;/
