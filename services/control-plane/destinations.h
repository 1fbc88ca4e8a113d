#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/event_log/event_log.h"
#include "services/control-plane/log_reader.h"
#include "services/control-plane/script_draft.h"
#include "services/control-plane/store.h"
#include "services/control-plane/topic_keeper.h"
#include "services/control-plane/workspace_document.h"

namespace millrace::control_plane {

/// What the API knows and does of destinations beyond their configuration: what waits for each,
/// what of it is given up, and what a deletion takes along. One thread; owned by the API.
class Destinations {
 public:
  /// Most give-ups that a destination keeps, and how long each stays in the configuration: longer
  /// than anything waits that was there when it was made.
  static constexpr int kMaxGiveUps = 100;
  static constexpr int64_t kGiveUpAgeUs = 8LL * 24 * 3600 * 1'000'000;

  Destinations(event_log::EventLog& log, Clock& clock, Store& store, LogReader& reader,
               TopicKeeper& topics)
      : log_(log), clock_(clock), store_(store), reader_(reader), topics_(topics) {}

  static void ForgetOldGiveUps(int64_t now_us, config::v1::Destination* destination);

  /// Adds `status` to each entry of a document's destinations: its state, what waits and how
  /// much of the log that holds, what is given up, why its topics are not there.
  Status AddStatus(const config::v1::Workspace& workspace, nlohmann::json* list);

  /// Gives up what waits for a destination, as `body` says: {user, anonymousId, from, before}, each
  /// may be left out. The answer to show, without revision. kInvalidArgument, kNotFound,
  /// kResourceExhausted: too many are kept already.
  StatusOr<nlohmann::json> GiveUp(const std::string& id, const nlohmann::json& body,
                                  ScriptDraft* draft);

  /// Adds to `changes`, which are those of `plan`, how many events wait for each destination that
  /// is deleted. kFailedPrecondition: some do, and `give_up_waiting` does not allow it; so also
  /// when their number is not known.
  Status CheckDeletions(const std::vector<PlannedChange>& plan, bool give_up_waiting,
                        nlohmann::json* changes);

  /// A plan that deletes a destination of which there is nothing but its topics: an older version
  /// left them there. kNotFound: there are none.
  StatusOr<std::vector<PlannedChange>> PlanLeftOver(const std::string& id);
  /// Puts it in force, in the place of a change of the workspace.
  Status DeleteLeftOver(const std::string& id);

  /// Before a plan is put in force: destinations with the id of one that was deleted wait until
  /// that one is gone for good. kUnavailable: it is not yet.
  Status MakeRoom(const std::vector<PlannedChange>& plan);

 private:
  event_log::EventLog& log_;
  Clock& clock_;
  Store& store_;
  LogReader& reader_;
  TopicKeeper& topics_;
};

}  // namespace millrace::control_plane
