//! Histories that failed once, shrunk: each is a file in `scripts/`, whose first lines say what was wrong.

use file_sync_sim::{Script, run_script};

#[track_caller]
fn holds(text: &str) {
    let script: Script = text.parse().expect("a script");
    // A shrunk history may depend on how long things take; so each is tried with some other delays too.
    for seed in std::iter::once(script.scene.seed).chain(1..=20) {
        let mut script = script.clone();
        script.scene.seed = seed;
        let report = run_script(&script);
        assert_eq!(report.failures, Vec::<String>::new(), "with seed {seed}: {:?}", report.shown);
    }
}

macro_rules! scripts {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                holds(include_str!(concat!("scripts/", stringify!($name), ".txt")));
            }
        )*
    };
}

scripts! {
    p1_what_an_author_put_back_had_settled_after_its_image_stays
    p1_what_an_author_put_back_had_settled_stays_though_it_has_counted_on
    p1_what_an_author_put_back_had_settled_stays_though_others_say_only_what_it_wrote
    s2_a_touch_of_what_was_settled_is_rightly_gone
    l1_what_is_held_as_deleted_is_known_after_a_start_that_was_cut_off
    s2_a_chmod_of_a_directory_at_a_copys_name_is_rightly_gone
    s2_a_touch_of_a_touch_that_went_with_all_that_had_replaced_its_bytes_is_rightly_gone
    l1_a_copys_name_that_was_cut_is_of_its_family
    l1_what_an_op_has_on_trial_where_its_directory_is_moved_is_nobodys
    l1_a_restored_home_is_in_doubt_until_its_first_scan_is_done
    s2_what_was_moved_and_edited_where_its_old_name_could_not_be_read_is_replaced_by_that_edit
    p1_a_copy_made_anew_in_a_lost_life_does_not_bring_back_the_old_one
    s1_who_was_paused_takes_part_again_with_whom_its_old_home_did_not_know
    v2_a_change_of_mode_that_two_have_dealt_with_apart_does_not_come_back
    p1_a_copy_edited_twice_in_a_lost_life_does_not_come_back
    p1_what_a_lost_life_settled_replaced_all_the_same
    l1_what_is_out_of_its_place_while_a_machine_is_put_back
    l1_a_change_of_mode_while_a_symlink_takes_the_name_is_kept
    l1_a_change_of_mode_of_what_others_have_moved_meanwhile_is_not_taken_for_dealt_with
    l1_what_a_machine_put_back_had_withheld_and_others_gave_back_was_replaced_for_good
    v2_what_a_machine_put_back_had_recorded_and_moved_is_told_of_before_it_is_missed
    l1_a_directory_that_gave_way_to_an_op_goes_by_its_new_name
    s2_what_is_to_go_from_its_name_while_it_is_read_goes_to_the_copys_name
    s3_a_copy_that_cannot_be_read_and_is_something_else_is_not_taken_back_for_ever
    l1_what_a_machine_put_back_asks_about_is_not_lost_when_it_is_approved
    l1_what_takes_the_place_of_a_directory_is_not_taken_for_what_somebody_edited_there
    s2_what_an_edit_of_a_copy_that_could_not_be_read_replaced_is_wanted_by_nobody
    d1_a_copy_that_a_machine_put_back_made_a_file_of_its_own_stays
    s1_an_author_put_back_takes_back_a_copy_that_only_others_remember
    l1_a_directory_made_again_is_not_taken_for_one_whose_change_of_mode_was_dealt_with
    l1_what_a_machine_put_back_writes_over_an_edit_it_had_not_recorded_is_a_touch
    s1_who_followed_and_was_away_knows_what_others_have_forgotten
    l1_bytes_moved_to_where_a_machine_put_back_has_replaced_their_like_go
    l1_what_comes_back_from_the_store_is_durable_before_it_is_listed
    s2_bytes_written_late_into_a_kept_version_are_given_to_who_wants_them
    s3_a_directory_made_for_what_lies_in_it_that_cannot_be_read_at_the_start_is_the_engines
    s3_what_a_users_act_came_in_the_way_of_gets_a_name_as_it_were_by_the_user
    s3_a_directory_made_for_what_lies_in_it_and_adopted_after_a_stop_is_put_into_once_that_is_durable
    s3_the_mode_that_a_directory_got_for_what_lies_in_it_alone_is_no_users
    d1_what_a_machine_put_back_shows_and_its_user_moves_back_and_forth_is_made_again
    l1_what_was_moved_to_where_a_look_fails_is_not_taken_for_deleted
    l1_a_touch_is_in_no_conflict_with_an_edit_that_a_machine_put_back_brings
    d1_what_was_put_where_it_could_not_be_looked_at_since_a_stop_is_no_users_to_replace
    l1_what_a_power_cut_left_blank_is_nobodys_word_where_it_was_moved_before_another
    l1_a_directory_made_where_a_directory_was_replaced_by_what_nobody_has
    d1_a_machine_put_back_has_not_heard_of_a_chmod_since
    d1_what_was_put_there_before_a_stop_and_is_ignored_before_it_is_seen_may_come_back
    s2_bytes_recorded_at_a_path_that_is_ignored_are_fetched_for_others
    s1_a_deleted_directory_is_not_forgotten_before_what_was_made_in_it_is_told
    l1_what_the_engine_moved_to_where_it_cannot_be_read_is_not_taken_for_deleted
    l1_a_copy_renamed_before_a_crash_is_not_taken_for_deleted
    l1_an_edit_moved_to_its_copy_before_the_disk_failed_is_not_taken_for_deleted
    l1_which_of_two_recorded_names_a_file_was_taken_from_is_told_by_its_name_in_the_store
    s3_what_the_engine_moved_on_before_a_touch_was_heard_is_deleted_by_nobody
    s3_a_directory_asked_for_while_ops_are_under_way_is_durable_after_them
    v2_what_a_clone_alone_had_recorded_is_there_when_it_is_met
    s3_what_is_ignored_and_was_found_not_to_be_there_is_in_doubt_no_longer
    l1_what_one_machine_put_back_shows_and_another_knows_to_be_deleted_goes
    l1_what_a_machine_put_back_had_deleted_goes_where_that_was_not_heard_of
    l1_a_directory_made_again_before_a_machine_put_back_finds_it_gone_goes_with_it
    d1_what_each_of_two_clones_found_is_gone_only_where_both_were_seen
    l1_what_a_stop_left_in_the_store_is_still_the_engines_after_a_second_stop
    s1_what_a_life_that_is_gone_had_not_told_yet_is_told_by_the_next
    l1_no_copy_goes_before_what_it_follows_from_is_durable
    s3_what_the_engine_moved_before_its_disk_failed_was_touched_by_nobody
    s1_numbers_of_a_life_that_is_gone_are_not_taken_for_known
    d1_what_was_heard_through_others_since_a_restart_is_no_clones
    d1_a_symlinks_copy_that_a_user_has_just_written_over_does_not_take_its_name_back
    l1_a_copy_that_had_its_name_back_before_a_crash_is_not_taken_for_deleted
    l1_a_directory_that_was_about_to_be_made_when_a_crash_came_is_not_taken_for_deleted
    l1_a_mode_set_on_what_was_placed_before_a_crash_replaces_nothing_else
    l1_bytes_moved_from_a_copy_to_its_path_outlive_a_write_to_the_copy
    l1_what_replaces_what_was_placed_before_a_crash_replaces_nothing_else
    l2_a_kept_version_that_was_written_into_is_not_forgotten_as_a_source
    d3_a_directory_that_equals_one_deleted_before_the_first_scan
    l2_bytes_written_late_come_back_where_the_directory_is_gone
    l2_what_a_user_puts_where_a_file_is_being_moved_stays_there
    l6_a_mount_that_is_gone_with_what_it_covered_is_left_alone_no_longer
    l1_a_directory_made_again_before_a_crash_stays_when_what_lay_in_it_is_moved
    s2_a_receivers_own_file_deep_in_a_directory_that_gives_way
    s1_what_a_receiver_made_like_others_follows_their_next_change
    s1_what_a_receiver_moves_of_what_a_clone_found_is_its_own_change
    s1_what_a_sender_made_before_it_was_put_back_is_others_to_it
    s2_what_a_receiver_has_moved_is_given_to_nobody
    s1_the_copies_of_an_author_put_back_are_followed
    s1_the_copies_of_an_author_in_conflict_with_itself_are_followed
    s2_a_file_in_place_of_a_directory_that_stays_comes_through_who_keeps_it
    s2_what_its_only_holder_ignores_is_said_to_be_missing
    s1_what_an_ignore_file_froze_that_went_during_the_first_scan
    s2_what_is_ignored_by_now_is_in_trouble_no_longer
    s2_two_that_put_off_each_others_word_come_to_rest
    d1_a_touch_that_another_touch_hid_goes_with_the_file
    l1_a_directory_at_a_copys_name_is_no_copy
    d1_what_was_placed_before_a_crash_and_cannot_be_looked_at_stays_in_doubt
    c2_a_file_that_goes_while_it_waits_for_an_edit_is_gone_when_that_is_durable
    d4_a_directory_that_the_engine_took_away_before_a_kill_is_not_deleted_by_its_user
    s2_a_copy_held_back_for_its_name_is_taken_up_again
    d4_what_is_deleted_and_made_again_during_the_first_scan_is_new
    s2_bytes_are_served_from_any_path_that_still_holds_them
    s2_what_was_said_while_an_attach_was_put_off_is_asked_for_again
    s2_what_is_ignored_by_now_is_not_asked_for_any_more
    s1_what_changed_again_while_the_disk_was_full_is_told_in_the_end
    d1_what_was_placed_before_a_power_cut_and_lies_under_a_mount_stays_in_doubt
    d1_what_is_in_doubt_stays_so_over_a_second_stop
    d1_a_symlinks_copy_that_is_being_looked_at_does_not_take_its_name_back
    l1_a_file_that_its_user_moved_and_that_was_displaced_there_was_not_taken_from_here
    l1_what_was_taken_from_another_path_is_not_taken_for_what_lay_here
    l7_after_a_root_was_not_there_its_rules_are_read_before_anything_is_done
    d1_a_file_placed_where_a_directory_was_taken_away_is_the_engines_own_after_a_crash
    d1_what_was_in_doubt_where_nothing_could_be_read_is_settled_before_anything_is_done_there
    l1_what_a_new_member_brought_under_another_name_is_not_what_was_deleted
    d1_a_symlinks_copy_that_is_gone_does_not_take_its_name_back
    l1_a_symlink_is_not_replaced_by_a_file_that_a_power_cut_left_blank
    d1_a_file_and_its_copy_that_are_deleted_together_during_a_stop_are_gone
    s1_a_directory_that_is_back_after_a_hold_gets_the_mode_that_came_meanwhile
    c4_what_a_power_cut_left_blank_replaces_nothing_where_it_is_moved_either
    s2_bytes_are_taken_from_any_kept_version_that_still_holds_them
    l5_a_file_that_gives_way_to_a_directory_while_it_is_found_is_no_copy
    d1_what_a_machine_put_back_moves_to_what_it_would_be_a_copy_of_is_new
    l1_a_directory_made_where_a_machine_put_back_has_not_missed_the_old_one_goes_with_that
    l1_a_directory_made_again_beside_an_edit_of_one_goes_with_what_lies_in_it
    l1_a_directory_that_another_still_shows_is_not_the_one_that_went_with_a_machine_put_back
    l1_what_a_machine_put_back_knows_to_be_deleted_of_what_it_had_itself_is_not_asked_for
    l1_bytes_written_over_the_very_same_go_with_them_in_a_power_cut
    s3_a_directory_that_got_the_inode_of_what_was_placed_is_rescued_with_all_that_is_in_it
}

#[test]
fn d4_what_a_user_makes_where_a_remotes_version_could_not_be_placed_is_the_users() {
    for (make, shown) in [("mkdir p", "p/"), ("ln p target", "p -> target"), ("write p t1", "p = t1")] {
        let text = format!(
            "seed 3\ndevice two-way\ndevice two-way\nlink A B\nA write k keep\nrest\nB fail p true\nA {make}\n\
             wait 3000000\nA rm p\nwait 3000000\nB fail p false\nwait 30000000\nB {make}\nwait 5000000\nrest\n"
        );
        let report = run_script(&text.parse().expect("a script"));
        assert_eq!(report.failures, Vec::<String>::new(), "{make}");
        for device in report.shown {
            assert!(device.iter().any(|line| line == shown), "{make}: {device:?}");
        }
    }
}

#[test]
fn l7_nothing_is_done_while_the_rules_of_a_root_cannot_be_read() {
    let text = "seed 1\ndevice two-way\ndevice two-way\nlink A B\nwait 1000000\ncut A B\nB write secret theirs\n\
                A write .syncignore secret\nA write secret mine\nwait 3000000\nA crash 0\nA deny .syncignore true\n\
                relink A B\nwait 20000000\nA deny .syncignore false\nrest\n";
    let report = run_script(&text.parse().expect("a script"));
    assert_eq!(report.failures, Vec::<String>::new());
    assert_eq!(report.shown[0], [".syncignore = secret", "secret = mine"]);
    assert_eq!(report.shown[1], [".syncignore = secret", "secret = theirs"]);
}

#[test]
fn d4_what_a_user_makes_where_nothing_was_placed_before_a_stop_is_the_users() {
    let lines = [
        "seed 1",
        "device two-way",
        "device two-way",
        "link A B",
        "set work 30000",
        "A write d/a t1",
        "wait 3000000",
        "cut A B",
        "B write d/x t2..",
        "wait 3000000",
        "relink A B",
        "wait 40000",
        "cut A B",
        "A crash 0",
        "A deny d true",
        "wait 3000000",
        "B rm d/x",
        "wait 3000000",
        "relink A B",
        "wait 10000000",
        "A deny d false",
        "wait 60000000",
        "A write d/x t2..",
        "A touch d/x 1700000004",
        "wait 20000000",
        "rest",
    ];
    let report = run_script(&lines.join("\n").parse().expect("a script"));
    assert_eq!(report.failures, Vec::<String>::new());
    for device in report.shown {
        assert!(device.iter().any(|line| line == "d/x = t2.."), "{device:?}");
    }
}

#[test]
fn s3_a_copy_that_is_ignored_by_now_is_not_asked_for_over_and_over() {
    let lines = [
        "seed 1",
        "device two-way",
        "device send-only",
        "link A B",
        "B write keep t1",
        "wait 3000000",
        "cut A B",
        "A ln c to25",
        "wait 2000000",
        "B write c t19.",
        "wait 2000000",
        "relink A B",
        "wait 10000000",
        "A write .syncignore *.sync-conflict*",
        "wait 10000000",
        "A rm c.sync-conflict-20231114-221324-1111111",
        "wait 10000000",
        "B rm c",
        "wait 5000000",
    ];
    let report = run_script(&lines.join("\n").parse().expect("a script"));
    assert!(!report.failures.iter().any(|failure| failure.starts_with("S")), "{:?}", report.failures);
}

/// The path had been deleted before, with other bytes in it: that says nothing of what is found there now.
#[test]
fn d3_what_a_restored_home_finds_and_another_has_deleted_since_is_gone() {
    let lines = [
        "seed 1",
        "device two-way",
        "device two-way",
        "link A B",
        "A write f t1",
        "wait 3000000",
        "A rm f",
        "wait 3000000",
        "B back-up",
        "wait 1000000",
        "B write f t2..",
        "wait 3000000",
        "cut A B",
        "A rm f",
        "wait 1000000",
        "B restore 100000",
        "wait 5000000",
        "relink A B",
        "wait 5000000",
        "rest",
    ];
    let report = run_script(&lines.join("\n").parse().expect("a script"));
    assert_eq!(report.failures, Vec::<String>::new());
    assert_eq!(report.shown, [Vec::<String>::new(), Vec::new()]);
}
