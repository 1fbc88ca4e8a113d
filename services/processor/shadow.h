#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/mutex.h"
#include "millrace/transformation/v1/report.pb.h"
#include "services/processor/chain.h"
#include "services/processor/run_jobs.h"
#include "services/processor/state_stage.h"

namespace millrace::processor {

/// Whether two events, or whatever JSON, are the same, the order of members aside.
bool SameJson(std::string_view a, std::string_view b);

/// Runs the shadows of transformations on a share of what their versions in force were given,
/// beside them: a batch never waits for one, and a shadow that is still busy with an earlier batch
/// sits this one out. Nothing of what they make leaves this class but the comparison. Owned by the
/// worker; one thread.
class Shadows {
 public:
  explicit Shadows(StateStage& state) : state_(state) {}
  ~Shadows() { WaitForAll(); }
  Shadows(const Shadows&) = delete;
  Shadows& operator=(const Shadows&) = delete;

  /// Starts the shadow of each step that has one, on events chosen by a hash of their message ids.
  void Begin(const std::vector<TransformJob>& jobs, const std::vector<const ChainStep*>& steps,
             const std::string& workspace_id);
  /// What the versions in force made of them. `jobs` as at Begin.
  void End(const std::vector<TransformJob>& jobs);
  /// The batch is not committed: what was begun for it does not count.
  void Forget();
  /// The batch is committed.
  void Keep();

  /// Whether Take would give something.
  bool Finished() const;
  /// Adds the comparisons of the committed batches whose shadows have ended.
  void Take(transformation::v1::TransformationReport* report);
  /// Before the stores of partitions are closed.
  void WaitForAll();

 private:
  struct Run;
  static void Compare(Run& run, transformation::v1::VersionReport* report);

  StateStage& state_;
  std::vector<std::shared_ptr<Run>> runs_;
  std::map<size_t, std::shared_ptr<Run>> begun_;  // by job, between Begin and End
};

}  // namespace millrace::processor
