"""Every attack that must fail has a test; this says which, and fails if one is gone.

Each attack has the tests that carry it out or show that what it needs is not there. A test is
named by its file, below ``tests``, and its function.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PUSHES = "sim/test_push_sequences.py"

_DEFINED = re.compile(r"^\s*(?:async )?def (\w+)", re.MULTILINE)

ATTACKS: dict[str, tuple[str, ...]] = {
    # Entries of the log
    "forged": (
        "unit/trust/test_trust_sshsig.py::test_forgeries_are_refused",
        "unit/trust/test_trust_signature.py::test_forged_fields_are_refused",
        "unit/push/test_push_certificate.py::test_a_signature_of_another_text_or_key_is_not",
        "unit/repository/test_repository_depot.py::test_forged",
    ),
    "truncated": (
        "unit/trust/test_trust_sshsig.py::test_truncation_at_every_byte_is_refused",
        "unit/push/test_push_object.py::test_too_short_and_too_long",
        "unit/reel/test_reel_manifest.py::test_text_that_is_cut_or_goes_on",
        "unit/repository/test_repository_depot.py::test_cut_off",
    ),
    "replayed": (
        f"{PUSHES}::test_replay_of_a_taken_push_at_a_clone",
        f"{PUSHES}::test_keeper_that_takes_a_push_again",
        f"{PUSHES}::test_aba",
        f"{PUSHES}::test_deletion_and_creation_held_back",
        "unit/repository/test_repository_depot.py::test_replayed",
    ),
    "re-ordered": (
        f"{PUSHES}::test_keeper_that_reorders",
        "unit/push/test_push_log.py::test_the_order_of_what_is_told_does_not_matter",
    ),
    "re-encoded: armor": (
        "unit/trust/test_trust_sshsig.py::test_armor_is_strict",
        "unit/trust/test_trust_signature.py::test_openpgp_armor_is_strict",
        "unit/trust/test_trust_signature.py::test_another_packet_header_is_the_same_signature",
    ),
    "re-encoded: comment": ("interop/test_signing.py::test_comments_in_the_armor_change_nothing",),
    "re-encoded: ECDSA twin": (
        "unit/trust/test_trust_sshsig.py::"
        "test_the_ecdsa_twin_verifies_so_nothing_may_be_named_after_a_signature",
        "unit/trust/test_trust_sshsig.py::test_ecdsa_numbers_in_another_form_are_refused",
        "unit/trust/test_trust_signed_policy.py::test_a_signers_two_encodings_count_once",
    ),
    "cross-repository": (
        "unit/push/test_push_certificate.py::test_a_push_for_another_repository_is_refused",
        "unit/push/test_push_certificate.py::test_the_url_names_the_repository",
        "unit/push/test_push_log.py::test_what_was_not_signed_for_this_log",
        "unit/push/test_push_depot.py::test_nonces_of_elsewhere",
        "unit/repository/test_repository_depot.py::test_another_repository",
        "interop/test_depot.py::test_wrong_repository",
    ),
    "back-dated": (f"{PUSHES}::test_back_dated_signature",),
    # Keys and roots
    "unknown keys": (
        "unit/push/test_push_certificate.py::test_who_has_a_say",
        "unit/push/test_push_admission.py::test_who_has_no_say_is_refused",
        "unit/repository/test_repository_depot.py::test_by_somebody_else",
        "interop/test_depot.py::test_unknown_key",
    ),
    "expired and revoked keys": (
        f"{PUSHES}::test_back_dated_signature",
        "interop/test_web_of_trust.py::test_expired_and_revoked_keys",
        "interop/test_signing.py::test_a_revoked_key_vouches_for_nothing",
    ),
    "under-threshold keys": (
        "unit/trust/test_trust_signed_policy.py::test_the_next_version_needs_the_roots_before_it",
        f"{PUSHES}::test_quorum",
    ),
    "removed keys pushing on old heads": (
        f"{PUSHES}::test_routine_removal",
        f"{PUSHES}::test_mutual_removal",
    ),
    "a retired root publishing a rival policy": (
        f"{PUSHES}::test_retired_root",
        "unit/push/test_push_log.py::test_who_comes_late_does_not_follow_a_retired_root",
    ),
    # The named sequences
    "ratchet": (f"{PUSHES}::test_ratchet",),
    "borrowed votes": (f"{PUSHES}::test_borrowed_votes",),
    "sole pusher": (f"{PUSHES}::test_sole_pusher",),
    "late laptops": (
        f"{PUSHES}::test_late_laptops",
        f"{PUSHES}::test_a_laptop_that_was_away_too_long_is_told",
    ),
    "resurrection": (
        f"{PUSHES}::test_resurrection",
        f"{PUSHES}::test_push_on_what_was_removed",
    ),
    "flood": (f"{PUSHES}::test_flood", f"{PUSHES}::test_flood_in_one_push"),
    "a stolen keeper's key": (
        "interop/test_stolen_keeper.py::"
        "test_two_checkpoints_in_one_place_stop_all_and_the_roots_go_on",
        "interop/test_stolen_keeper.py::test_what_a_keeper_signs_cannot_change_a_ref",
        "interop/test_stolen_keeper.py::"
        "test_the_keepers_key_alone_pushes_nothing_and_names_no_keeper",
        "unit/push/test_push_spreading.py::test_a_checkpoint_beside_ours_is_asked_for",
    ),
    "drafts of a policy that lie": (
        "property/trust/test_trust_properties.py::test_a_draft_changes_nothing_that_is_not_said",
        "property/trust/test_trust_properties.py::test_where_a_new_keeper_goes_on_is_said",
        "cli/test_cli_policy.py::test_drafts_of_strangers_are_shown_as_they_are",
    ),
    "restored keeper": (
        f"{PUSHES}::test_restored_keeper_that_syncs_first",
        f"{PUSHES}::test_restored_keeper_that_does_not",
    ),
    "keeper that invents, omits": (
        f"{PUSHES}::test_keeper_that_invents",
        f"{PUSHES}::test_keeper_that_omits",
        f"{PUSHES}::test_keeper_that_lies_about_a_verdict",
        f"{PUSHES}::test_a_checkpoint_that_hides_a_policy",
    ),
    "keeper rotation while the old one signs": (
        f"{PUSHES}::test_keeper_rotation_while_the_old_one_signs",
        f"{PUSHES}::test_a_new_keeper_goes_on_from_what_its_version_names",
    ),
    "rewind while the keeper is away": (f"{PUSHES}::test_rewind_while_the_keeper_is_away",),
    "amend twice on one checkpoint": (f"{PUSHES}::test_amend_twice_on_one_checkpoint",),
    "absorbed conflict": (f"{PUSHES}::test_absorbed_conflict",),
    # Refs
    "a signer outside their refs": (
        f"{PUSHES}::test_borrowed_votes",
        "interop/test_depot.py::test_not_allowed_here",
        "interop/test_depot.py::test_not_a_fast_forward",
    ),
    "concurrent a and a/b": (f"{PUSHES}::test_directories",),
    "a mirror choosing nonces": (
        f"{PUSHES}::test_push_with_an_unknown_checkpoint_is_not_shown",
        f"{PUSHES}::test_the_highest_count_wedges_nobody",
        f"{PUSHES}::test_push_on_what_the_old_keeper_signed_beyond",
        "unit/repository/test_repository_depot.py::test_counts_that_were_not_offered",
        "unit/repository/test_repository_depot.py::test_checkpoints_that_are_not_known",
    ),
    "a mirror choosing deletions or HEAD": (
        f"{PUSHES}::test_head",
        f"{PUSHES}::test_head_that_was_set_later_stays",
        "unit/push/test_push_log.py::test_a_keeper_that_invents_is_refuted_by_who_has_the_objects",
        "interop/test_what_is_public.py::test_refs_are_those_published",
    ),
    "grafting another log": (
        "interop/test_identity.py::test_the_log_of_another_repository",
        "unit/push/test_push_log.py::test_another_repository_than_was_asked_for",
        "unit/trust/test_trust_signed_policy.py::test_a_rival_first_policy_is_another_repository",
    ),
    "unverified latest": (
        "unit/transfer/test_transfer_log_intake.py::"
        "test_a_checkpoint_that_is_announced_has_to_come",
        "unit/transfer/test_transfer_log_intake.py::test_a_log_that_does_not_continue_ours",
    ),
    "withholding": (
        "interop/test_errors.py::test_mirror_withholds_the_newest_push",
        "unit/store/test_store_database.py::test_heads_never_go_back",
        "unit/push/test_push_fresh.py::test_when_it_is_old",
        "unit/repository/test_repository_freshness.py::"
        "test_it_is_the_keepers_word_on_a_checkpoint_that_is_known",
    ),
    "rival policies or checkpoints from one key": (
        f"{PUSHES}::test_rivals_that_both_change_the_keeper",
        f"{PUSHES}::test_rivals_of_which_a_twin_names_one",
        f"{PUSHES}::test_rivals_whose_place_a_third_takes",
        f"{PUSHES}::test_checkpoints_under_a_version_that_was_replaced",
        "unit/push/test_push_log.py::test_roots_of_all_sides_sign_what_takes_the_place_of_rivals",
        f"{PUSHES}::test_twins_of_a_keeper_that_does_not_count",
        "unit/push/test_push_log_range.py::test_proof_against_a_keeper_is_passed_on",
        "unit/push/test_push_log_range.py::test_a_rival_policy_is_passed_on",
    ),
    # Objects and manifests
    "lying bitmaps": (
        "unit/swarm/test_swarm_download.py::"
        "test_a_bitmap_of_another_pack_bans_before_anything_is_asked",
        "interop/test_attacks.py::test_lies_cost_only_their_teller",
    ),
    "wrong parts": (
        "unit/swarm/test_swarm_network.py::test_a_garbage_sender_is_banned_at_its_first_wrong_part",
    ),
    "a true manifest without the reel": (
        "interop/test_withheld_reels.py::test_a_reel_that_a_stranger_withholds_comes_otherwise",
        "interop/test_withheld_reels.py::test_a_signed_index_that_is_withheld_is_made_here",
        "unit/transfer/test_transfer_planning.py::"
        "test_who_withholds_a_reel_is_left_unless_its_line_broke",
    ),
    "long manifests of many mirrors that agree": (
        "unit/transfer/test_transfer_planning.py::"
        "test_of_a_long_manifest_no_more_is_under_way_whoever_offers_it",
    ),
    "indexes by the hundred, and silence about each": (
        "unit/transfer/test_transfer_planning.py::"
        "test_silent_liars_hold_an_index_up_together_and_not_in_turn",
        "interop/test_signed_index_serving.py::"
        "test_a_mirror_asks_for_few_of_the_indexes_that_are_made_up",
    ),
    "a replayed webhook": (
        "unit/node/test_node_track_schedule.py::test_what_was_said_before_asks_less_often",
        "unit/node/test_node_webhooks.py::test_what_came_lately_has_places_that_others_cannot_take",
    ),
    "false complaints of parts": (
        "interop/test_bit_rot.py::test_who_only_says_so_changes_nothing",
        "interop/test_bit_rot.py::test_what_cannot_be_read_just_now_is_not_damaged",
    ),
    "two manifests for one reel": (
        "interop/test_manifest_attacks.py::test_two_manifests_of_one_reel_are_nobodys_fault",
    ),
    "a manifest whose parts verify but whose objects differ": (
        "interop/test_manifest_attacks.py::"
        "test_a_signed_reel_without_the_objects_is_not_believed_twice",
        "interop/test_manifest_attacks.py::test_a_manifest_signed_by_a_stranger_is_not_used",
    ),
    "decompression and delta bombs": (
        "unit/git/test_git_guarded.py::test_one_file_that_is_too_large",
        "unit/git/test_git_guarded.py::test_memory_of_the_indexer",
        "interop/test_depot_bombs.py::test_deltas_that_stand_for_more_memory_than_there_may_be",
        "unit/repository/test_repository_depot.py::"
        "test_a_small_pack_that_stands_for_much_is_not_unpacked",
        "interop/test_git_costs.py::test_bodies_are_counted_when_inflated",
    ),
    "huge manifests, push objects and requests": (
        "unit/reel/test_reel_manifest.py::test_limits",
        "unit/push/test_push_object.py::test_limits_are_checked_before_anything_is_read",
        "unit/push/test_push_depot.py::test_too_much",
    ),
    "path tricks": (
        "interop/test_serving.py::test_path_tricks_are_refused_alike",
        "interop/test_serving.py::test_manifest_ids_are_checked_before_disk",
    ),
    "ref-name tricks": (
        "unit/trust/test_trust_policy.py::test_nobody_gets_reserved_or_malformed_names",
        "property/push/test_push_properties.py::test_a_name_that_passes_is_harmless",
        "interop/test_shown_text.py::test_names_of_refs",
    ),
    # Addresses
    "ext:: and other URLs in mirror lists": (
        "unit/wire/test_wire_urls.py::test_refuses",
        "unit/wire/test_wire_mirrorlist_notify.py::test_refuses_a_list",
        "unit/node/test_node_notices.py::test_odd_urls_are_refused",
    ),
    "redirects": (
        "interop/test_manifest_attacks.py::test_redirects_are_not_followed",
        "interop/test_weak_road.py::test_no_redirect_and_nothing_of_the_users",
    ),
    "private and v4-mapped addresses": (
        "unit/wire/test_wire_urls.py::test_address_class",
        "unit/wire/test_wire_urls.py::test_a_stranger_cannot_lead_us_inwards",
        "unit/node/test_node_learned_mirrors.py::test_nobody_sends_us_further_than_it_may",
        "unit/node/test_node_learned_mirrors.py::test_each_tells_of_its_share",
        "unit/wire/test_wire_urls.py::test_full_width_digits_become_the_address_they_stand_for",
    ),
    "names that lead inwards, or elsewhere at the second look": (
        "interop/test_changing_names.py::test_no_name_leads_inwards",
    ),
    "call-backs aimed at third parties": (
        "interop/test_node_attacks.py::test_nobody_is_sent_to_third_parties",
        "unit/node/test_node_notices.py::test_reserved_addresses_are_never_called_back",
        "unit/node/test_node_notices.py::test_nobody_but_the_announcing_address_is_contacted",
        "unit/node/test_node_notices.py::test_many_who_name_one_victim_send_nobody_there",
        "unit/node/test_node_goodbyes.py::test_nobody_is_called_but_where_the_notice_came_from",
    ),
    "call-backs as an amplifier": (
        "unit/node/test_node_notices.py::test_a_notice_is_answered_by_one_call",
        "unit/node/test_node_notices.py::test_floods_are_refused_until_the_window_has_passed",
    ),
    # Addresses, by source: the table in docs/protocol/mirrorsync.md, Learned addresses
    "addresses from lists": (
        "unit/wire/test_wire_urls.py::test_a_stranger_cannot_lead_us_inwards",
        "unit/transfer/test_transfer_reaching.py::"
        "test_one_list_takes_no_place_of_what_was_found_otherwise",
    ),
    "addresses from notices": (
        "unit/node/test_node_notices.py::test_local_addresses_are_not_called_back_from_public_nodes",
        "unit/node/test_node_notices.py::test_one_source_has_a_share_of_the_list",
        "unit/node/test_node_mirror_table.py::"
        "test_one_network_takes_no_place_of_others_in_what_is_told",
    ),
    "addresses from conversations of mirrors": (
        "unit/node/test_node_learned_mirrors.py::test_nobody_sends_us_further_than_it_may",
        "unit/node/test_node_learned_mirrors.py::test_each_tells_of_its_share",
    ),
    "addresses from peer exchange": (
        "unit/node/test_node_swarming.py::test_a_caller_may_tell_only_of_its_own_address",
        "unit/transfer/test_transfer_peer_manager.py::"
        "test_callers_may_tell_only_of_their_own_address",
        "unit/transfer/test_transfer_peer_manager.py::test_a_public_source_sends_us_nowhere_inside",
        "unit/transfer/test_transfer_peer_manager.py::test_one_source_does_not_fill_the_table",
    ),
    "addresses from the DHT and the local network": (
        "unit/transfer/test_transfer_finding.py::test_where_a_way_may_send_us",
        "unit/transfer/test_transfer_finding.py::test_where_no_way_may_send_us",
        "unit/transfer/test_transfer_finding.py::"
        "test_the_dht_may_not_send_us_into_private_networks",
        "unit/transfer/test_transfer_finding.py::test_ports_of_other_services_are_not_asked",
        "unit/transfer/test_transfer_finding.py::test_one_way_takes_no_place_of_another",
        "unit/transfer/test_transfer_finding.py::"
        "test_one_address_counts_twice_at_most_whatever_its_ports",
        "unit/transfer/test_transfer_finding.py::test_one_answer_of_many_counts_for_little",
    ),
    "addresses from policies": (
        "unit/transfer/test_transfer_reaching.py::test_mirrors_that_a_policy_names",
        "interop/test_over_ssh.py::test_learned_urls_start_no_ssh",
        "unit/transfer/test_transfer_ssh_transport.py::test_no_strangers_word_starts_it",
    ),
    "addresses from collections": (
        "unit/node/test_node_collection_file.py::test_a_wrong_entry_is_named_and_the_others_count",
    ),
    "addresses that are remembered": (
        "unit/transfer/test_transfer_reaching.py::test_what_is_known_here",
    ),
    "addresses from the node of this machine": (
        "unit/transfer/test_transfer_lookups.py::"
        "test_a_node_says_of_nobody_that_the_user_named_them",
    ),
    "addresses from the router": (
        "unit/node/test_node_discovering.py::test_a_router_may_call_us_by_public_addresses_only",
    ),
    "addresses from web servers": (
        "interop/test_weak_road.py::test_no_redirect_from_whom_the_user_named",
        "interop/test_through_http.py::test_a_redirect_leads_nowhere",
        "unit/node/test_node_proxied.py::test_nobody_passes_for_this_machine_by_saying_too_much",
        "unit/node/test_node_notices.py::test_a_node_behind_a_proxy_does_not_call_back_itself",
    ),
    "one source filling the peer table": (
        "unit/node/test_node_notices.py::test_one_source_has_a_share_of_the_list",
        "unit/swarm/test_swarm_download.py::test_peers_and_bans_are_bounded",
    ),
    # The machine
    "option injection": (
        "unit/wire/test_wire_urls.py::test_refuses",
        "property/push/test_push_properties.py::test_a_name_that_passes_is_harmless",
    ),
    "hooks and configuration around git": (
        "unit/git/test_git_plumbing.py::test_environments_pass_on_no_steering",
        "interop/test_users_settings.py::test_nor_does_what_a_hook_has_around_it",
        "golden/test_golden_reels.py::test_hostile_configuration_does_not_matter",
        "interop/test_serving.py::test_configuration_of_the_repository_does_not_weaken_serving",
    ),
    "alternates": ("golden/test_golden_reels.py::test_alternates_do_not_matter",),
    "replace refs, grafts, promisors": (
        "unit/repository/test_repository_publish.py::"
        "test_replace_refs_are_neither_published_nor_heard",
        "unit/repository/test_repository_publish.py::test_grafted_repositories",
        "unit/repository/test_repository_publish.py::test_stray_promisor_files_do_no_harm",
    ),
    "submodules that git would obey": (
        "native/test_native_verdicts.py::test_submodules_with_the_name_of_a_file_git_obeys",
        "interop/test_strictness.py::test_a_clone_takes_no_such_object",
        "interop/test_depot.py::test_objects_that_break_rules",
    ),
    "reading hidden or other repositories' objects by id": (
        "interop/test_what_is_public.py::test_wants",
        "interop/test_gtp_hostile.py::test_objects_outside_the_reels_are_never_given",
        "unit/repository/test_repository_depot.py::test_objects_that_were_not_sent",
        "unit/repository/test_repository_depot.py::test_bases_that_git_adds_do_not_count_as_sent",
        "unit/repository/test_repository_depot.py::"
        "test_deltas_that_copy_what_is_not_shown_do_not_send_it",
        "unit/repository/test_repository_taking_in.py::"
        "test_hidden_objects_are_not_shown_by_naming_them",
    ),
    "slow readers and writers": (
        "interop/test_node_attacks.py::test_slow_readers_hold_no_memory_and_no_slot",
        "interop/test_node_attacks.py::test_a_peer_that_never_reads_is_told_only_so_much",
        "interop/test_node_attacks.py::test_git_callers_that_read_nothing",
    ),
    "connection floods": (
        "interop/test_node_attacks.py::test_floods_are_cut_off",
        "interop/test_node_attacks.py::test_a_crowd_that_says_nothing",
        "interop/test_node_attacks.py::test_others_are_served_while_somebody_floods",
    ),
    "branches that are no commits": (
        f"{PUSHES}::test_branches_are_commits",
        f"{PUSHES}::test_a_keeper_that_takes_a_branch_that_is_no_commit",
        "interop/test_no_commits.py::test_nobody_shows_them",
        "interop/test_no_commits.py::test_a_keeper_that_takes_one_is_found_out",
        "unit/repository/test_repository_depot.py::test_branches_become_commits_and_nothing_else",
    ),
    "pushes that fill a mirror": (
        "unit/push/test_push_admission.py::test_no_more_than_the_quota_of_one_key",
        "unit/push/test_push_openpgp.py::test_pushes_by_keys_that_anybody_can_make_are_bounded",
        "unit/push/test_push_admission.py::test_waiting_pushes_are_bounded",
        "unit/push/test_push_spreading.py::test_memory_is_bounded",
    ),
    "a log of junk": (
        "unit/transfer/test_transfer_log_intake.py::test_a_log_of_junk_costs_an_entry",
    ),
    "checkpoints dated ahead": (
        "unit/transfer/test_transfer_log_intake.py::"
        "test_a_checkpoint_dated_ahead_of_our_clock_does_not_count",
        "unit/push/test_push_admission.py::test_a_checkpoint_dated_ahead_waits_for_its_time",
    ),
    # Private repositories
    "asking whether a private repository exists": (
        "interop/test_private.py::test_strangers_over_git_learn_nothing",
        "interop/test_private.py::test_strangers_over_http_learn_nothing",
        "interop/test_private.py::test_where_strangers_are_told_what_there_is",
        "interop/test_private.py::test_readers_come_in_by_their_keys",
        "interop/test_tokens.py::test_what_is_answered",
    ),
    "token of another repository, revoked, or expired": (
        "interop/test_tokens.py::test_what_is_answered",
        "interop/test_tokens.py::test_a_conversation_ends_with_its_token",
    ),
    "claiming another's key": ("interop/test_private.py::test_readers_come_in_by_their_keys",),
    "hearing of what turned private in the clear": (
        "interop/test_private.py"
        "::test_whoever_talks_in_the_clear_is_told_that_it_is_private_and_nothing_after",
        "interop/test_private.py"
        "::test_a_mirror_that_is_called_in_the_clear_hears_that_it_is_private_and_nothing_after",
    ),
    "holding a clone up by few bytes, or by words that parts wait": (
        "unit/transfer/test_transfer_patience.py::test_a_trickle_ends_as_soon",
        "unit/transfer/test_transfer_parts.py"
        "::test_who_says_so_for_ever_holds_nobody_up_whom_another_can_serve",
        "unit/transfer/test_transfer_parts.py::test_who_owes_nothing_excuses_nobody",
    ),
    "many peers of GTP that fill a node's memory": (
        "unit/gtp/test_gtp_room.py::test_messages_that_do_not_end_are_held_up_to_a_total",
        "unit/gtp/test_gtp_room.py::test_requests_that_wait_for_answers_count",
        "unit/gtp/test_gtp_room.py::test_answers_that_nobody_reads_count",
        "unit/gtp/test_gtp_exchange.py::test_what_many_peers_say_they_have_takes_a_bit_a_block",
        "interop/test_gtp_hostile.py::test_who_sends_messages_that_do_not_end_keeps_nobody_out",
    ),
    "asking for what is private in the clear": (
        "interop/test_private.py::test_a_clone_keeps_to_itself",
        "unit/transfer/test_transfer_private.py::test_it_is_not_asked_for_in_the_clear",
        "interop/test_tokens.py::test_behind_a_web_server",
    ),
    "leading a token elsewhere": (
        "interop/test_tokens.py::test_nobody_is_led_elsewhere_with_a_token",
        "interop/test_tokens.py::test_what_nobody_vouches_for_gets_no_token",
    ),
    "handing on where a private repository is": (
        "unit/node/test_node_notices.py"
        "::test_of_what_is_private_nobody_is_listed_and_nobody_called",
        "unit/transfer/test_transfer_private.py::test_what_others_told_of_it_is_forgotten",
        "unit/transfer/test_transfer_private.py::test_what_was_never_seen_is_private_where_it_may_be",
        "interop/test_tokens.py::test_what_is_answered",
    ),
    # CI jobs
    "a job that may not read": (
        "interop/test_ci_node.py::test_who_may_not_read_gets_nothing",
        "interop/test_ci_node.py::test_only_what_is_listed_is_given",
        "interop/test_ci_node.py::test_the_nodes_own_credentials_are_nobodys",
    ),
    "a job that names other servers": (
        "unit/wire/test_wire_ci.py::test_what_can_be_read_in_two_ways_is_refused",
        "unit/wire/test_wire_ci.py::test_prefixes_end_where_a_name_does",
        "interop/test_ci_node.py::test_what_fails_goes_to_the_server",
        "interop/test_ci_node.py::test_redirects_are_for_the_caller",
    ),
    "somebody between runners": (
        "unit/wire/test_wire_ci_fleet.py::test_others_are_not",
        "unit/wire/test_wire_ci_fleet.py::test_answers_are_for_one_request",
        "interop/test_ci_fleet.py::test_only_runners_are_answered_and_of_what_is_public",
    ),
    "posing as a runner on the local network": (
        "unit/wire/test_wire_ci_labels.py::test_names_of_others_are_not_read",
        "unit/node/test_node_ci_members.py::test_a_flood_displaces_nobody_who_proved_itself",
        "interop/test_ci_lan.py::test_a_flood_of_false_names_displaces_nobody_and_nobody_is_asked",
        "interop/test_ci_lan.py::test_a_name_that_was_recorded_leads_to_nobody_who_cannot_prove_it",
        "interop/test_discovery.py::test_who_contests_each_name_keeps_nobody_off_the_local_network",
    ),
    # Collections
    "filling disks through a collection": (
        "interop/test_collection_attacks.py::test_it_does_not_fill_the_disk",
        "unit/node/test_node_collection_plan.py::test_bytes_count_of_each_and_in_all",
    ),
    "running a program through an address of a collection": (
        "interop/test_collection_attacks.py::test_it_runs_no_program_and_reads_no_file",
        "unit/node/test_node_collection_file.py::test_a_wrong_entry_is_named_and_the_others_count",
    ),
    "aiming calls through a collection": (
        "interop/test_collection_attacks.py"
        "::test_it_leads_to_no_address_of_this_machine_unless_it_came_from_there",
        "interop/test_collection_attacks.py"
        "::test_what_is_no_mirror_is_asked_once_in_a_round_and_believed_nothing",
    ),
    "taking the place of a repository through a collection": (
        "interop/test_collection_attacks.py"
        "::test_it_does_not_take_the_place_of_what_the_operator_has",
    ),
    "naming an allowed key": (
        "interop/test_collection_attacks.py"
        "::test_whoever_writes_an_allowed_key_into_a_policy_has_not_its_signature",
    ),
    "documents that are dear to read": (
        "unit/node/test_node_collection_file.py"
        "::test_the_largest_documents_of_awkward_shapes_are_read_or_refused",
    ),
    "deleting everything with a stolen key": (
        "interop/test_sudden_deletions.py"
        "::test_what_is_deleted_at_once_can_be_got_back_until_it_is_confirmed",
        "unit/repository/test_repository_kept_refs.py::test_many_that_are_rewritten_are_kept",
        "interop/test_collections.py::test_many_that_disappear_at_once_wait_for_a_confirmation",
    ),
    "private objects through a public fork": (
        "interop/test_private.py::test_a_public_fork_gives_nothing_of_it",
    ),
}
"""The tests of each attack."""


@cache
def functions(path: str) -> frozenset[str]:
    """Return the names of the test functions in a file below ``tests``."""
    return frozenset(_DEFINED.findall((TESTS / path).read_text("utf-8")))


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_tests_of_an_attack_are_there(attack: str) -> None:
    for test in ATTACKS[attack]:
        path, _, name = test.partition("::")
        assert name in functions(path), f"{test} is gone: name what tests {attack!r} now"
