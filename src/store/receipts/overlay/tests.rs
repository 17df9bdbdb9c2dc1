use super::*;

const GRACE: Duration = Duration::from_secs(30);
const AGE: Duration = Duration::from_secs(10);

fn room() -> RoomId {
    RoomId::try_from(7).unwrap()
}

fn at(time: u32) -> Timestamp {
    Timestamp { time, increment: 1 }
}

fn batch(by: ObjectId, of: &[(i64, i64)]) -> Arc<JournalBatch> {
    let mark = |(user, n): &(i64, i64)| RaisedMarks {
        room: room(),
        user: UserId::Int(*user),
        marks: Marks { delivered: *n, read: *n - 1 },
    };
    let marks = of.iter().map(mark).collect();
    Arc::new(JournalBatch { id: ObjectId::new(), by, at: DateTime::from_millis(0), marks })
}

/// Returns the delivered markers of `count` members at the time `until`. In the members' documents, each marker is 3.
fn delivered(overlay: &Overlay, count: i64, until: Timestamp) -> Vec<i64> {
    let member = |user| StoredMember {
        user: UserId::Int(user),
        email: None,
        role: handlers::Role::Member,
        marks: Marks { delivered: 3, read: 3 },
        pending: false,
    };
    let mut members: Vec<_> = (1..=count).map(member).collect();
    overlay.raise(room(), until, &mut members);
    members.iter().map(|member| member.marks.delivered).collect()
}

#[test]
fn overlay_gives_the_markers_of_any_cluster_time() {
    let (overlay, now) = (Overlay::default(), Instant::now());
    overlay.add_batch(at(10), &batch(ObjectId::new(), &[(1, 4), (2, 2)]), now);
    overlay.add_batch(at(12), &batch(ObjectId::new(), &[(1, 6)]), now);
    for (until, expected) in [(9, [3, 3]), (10, [4, 3]), (11, [4, 3]), (12, [6, 3])] {
        assert_eq!(delivered(&overlay, 2, at(until)), expected, "by {until}");
        assert_eq!(delivered(&overlay, 20, at(until))[..2], expected, "of many, by {until}");
    }
    let own = overlay.of_user(&UserId::Int(1), [room(), RoomId::try_from(8).unwrap()], at(11));
    assert_eq!(own, HashMap::from([(room(), Marks { delivered: 4, read: 3 })]));
    assert_eq!((overlay.kept(), overlay.unfolded()), (3, 3));
}

#[test]
fn markers_of_a_former_member_count_only_for_earlier_times() {
    let (overlay, now) = (Overlay::default(), Instant::now());
    let own = ObjectId::new();
    overlay.add_batch(at(10), &batch(own, &[(1, 5), (2, 5)]), now);
    overlay.drop_member(room(), &UserId::Int(1), at(11));
    overlay.drop_member(room(), &UserId::Int(9), at(11));
    assert_eq!(delivered(&overlay, 2, at(10)), [5, 5]);
    assert_eq!(delivered(&overlay, 2, cluster_time::MAX), [3, 5]);
    assert_eq!(delivered(&overlay, 20, cluster_time::MAX)[..2], [3, 5]);
    overlay.add_batch(at(12), &batch(own, &[(1, 4)]), now);
    assert_eq!(delivered(&overlay, 2, cluster_time::MAX), [4, 5]);
    let folded: Vec<_> =
        overlay.take_due_batches(own, AGE, now).iter().flat_map(|batch| batch.marks.clone()).collect();
    let folded: Vec<_> = folded.iter().map(|mark| (mark.user.clone(), mark.marks.delivered)).collect();
    assert_eq!(
        folded,
        [(UserId::Int(2), 5), (UserId::Int(1), 4)],
        "markers from before the leave are not folded"
    );
    assert_eq!(overlay.unfolded(), 2);
}

#[test]
fn folded_batches_are_kept_for_the_grace_period() {
    let (overlay, now) = (Overlay::default(), Instant::now());
    let (first, second) = (batch(ObjectId::new(), &[(1, 5)]), batch(ObjectId::new(), &[(1, 6)]));
    overlay.add_batch(at(10), &first, now);
    overlay.add_batch(at(11), &second, now);
    // The later batch is folded first. The later batch stays even after its grace period, because the earlier batch is
    // not folded yet.
    overlay.mark_folded(second.id, now);
    overlay.remove_expired(GRACE, now + GRACE);
    assert_eq!((delivered(&overlay, 1, cluster_time::MAX), overlay.unfolded()), (vec![6], 1));
    overlay.mark_folded(first.id, now + GRACE);
    overlay.mark_folded(first.id, now + GRACE * 2);
    overlay.remove_expired(GRACE, now + GRACE);
    assert_eq!(overlay.kept(), 2);
    overlay.drop_member(room(), &UserId::Int(1), at(12));
    overlay.remove_expired(GRACE, now + GRACE * 2);
    assert_eq!((overlay.kept(), delivered(&overlay, 1, cluster_time::MAX)), (0, vec![3]));
    overlay.mark_folded(ObjectId::new(), now);
}

#[test]
fn own_batches_are_taken_immediately_and_others_after_the_age() {
    let (overlay, now) = (Overlay::default(), Instant::now());
    let own = ObjectId::new();
    let (mine, theirs) = (batch(own, &[(1, 5)]), batch(ObjectId::new(), &[(2, 5)]));
    overlay.add_batch(at(10), &mine, now);
    overlay.add_batch(at(11), &theirs, now);
    assert_eq!(overlay.take_due_batches(own, AGE, now), std::slice::from_ref(&mine));
    assert_eq!(overlay.take_due_batches(own, AGE, now), [], "it is being folded");
    overlay.return_batches(std::slice::from_ref(&mine));
    assert_eq!(overlay.take_due_batches(own, AGE, now + AGE), [mine.clone(), theirs]);
    // The batch of the other server is taken again after `TAKEN`, because no event has reported its deletion. The
    // database may have rolled back the deletion when it lost its primary.
    overlay.mark_folded(mine.id, now);
    assert_eq!(overlay.take_due_batches(own, AGE, now + AGE + TAKEN).len(), 1);
}

#[test]
fn reload_takes_missing_journal_batches_as_folded() {
    let (overlay, now) = (Overlay::default(), Instant::now());
    let (gone, stays) = (batch(ObjectId::new(), &[(1, 5)]), batch(ObjectId::new(), &[(1, 6)]));
    overlay.add_batch(at(10), &gone, now);
    overlay.add_batch(at(11), &stays, now);
    let found = batch(ObjectId::new(), &[(2, 9)]);
    overlay.reload(&[stays.clone(), found.clone()], now);
    assert_eq!(delivered(&overlay, 2, at(9)), [3, 9]);
    assert_eq!(delivered(&overlay, 2, at(11)), [6, 9]);
    assert_eq!(overlay.unfolded(), 2);
    overlay.add_batch(at(12), &found, now);
    assert_eq!((overlay.kept(), overlay.unfolded()), (3, 2), "it was already known");
    for id in [stays.id, found.id] {
        overlay.mark_folded(id, now);
    }
    overlay.remove_expired(GRACE, now + GRACE);
    assert_eq!(overlay.kept(), 0);
}
