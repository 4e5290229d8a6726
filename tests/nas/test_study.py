import pytest
def test_x(finished, rows):
    for r in rows(finished/'trials.csv'): print(list(r.values()))
    print(sorted(p.name for p in finished.rglob('*')), len((finished/'events.jsonl').read_text().splitlines()))
def test_y(make,study,wide,fake):
    s=study(make(space=wide,trials=40), fake(('complete','complete','failed','diverged')))
    for t in s.ledger.ordered(): print(t.number,t.status,t.family,t.source)
    print(len(s.ledger.asks), s.times)
