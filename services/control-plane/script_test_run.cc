#include "services/control-plane/script_test_run.h"

#include <nlohmann/json.hpp>

#include <condition_variable>
#include <optional>

#include "libs/base/ids.h"
#include "libs/event/event_fields.h"
#include "libs/transformation/memory_state.h"
#include "services/control-plane/event_json.h"
#include "services/control-plane/field_difference.h"
#include "services/control-plane/script_rules.h"
#include "services/control-plane/secret_mask.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;
using SteadyClock = std::chrono::steady_clock;
using config::v1::TestOutcome;
using config::v1::TestRequest;
using config::v1::TestResponse;
using config::v1::TRANSFORMATION;
using transformation::Input;
using transformation::Output;

// Events that run together: what a run that took too long has still under way is waited for by the
// next.
constexpr size_t kBatch = 10;
constexpr uint32_t kDefaultLast = 10;
/// Outputs and logs of one run: more would take memory from the events when all is one process.
constexpr size_t kMaxOutputBytes = 4 << 20;

size_t SizeOf(const Output& output) {
  size_t size = output.error.size() + output.stack.size();
  for (const Bytes& event : output.events) size += event.view().size();
  for (const std::string& line : output.log) size += line.size();
  return size;
}

/// What a run that is waited for, perhaps in vain, shares with its callback.
struct Waiting {
  Mutex mu;
  std::condition_variable_any changed;
  std::optional<std::vector<Output>> outputs ABSL_GUARDED_BY(mu);
  std::vector<std::string> message_ids;
  std::unique_ptr<transformation::StateScope> state;
};

Json SharedMetadata(const config::v1::Workspace& workspace,
                    const config::v1::TransformationVersion& version,
                    const config::v1::Source* source, const config::v1::Destination* destination) {
  Json json = {{"workspaceId", workspace.id()},
               {"transformationId", version.transformation_id()},
               {"transformationVersionId", version.id()},
               {"namespace", ""},
               {"originalSourceId", ""},
               {"sourceDefinitionId", ""},
               {"destinationDefinitionId", ""},
               {"sourceJobId", ""},
               {"sourceJobRunId", ""},
               {"sourceTaskRunId", ""},
               {"trackingPlanId", ""},
               {"trackingPlanVersion", 0},
               {"sourceTpConfig", Json::object()},
               {"mergedTpConfig", Json::object()},
               {"messageIds", Json::array()}};
  json["sourceId"] = source == nullptr ? "" : source->id();
  json["sourceName"] = source == nullptr ? "" : source->name();
  json["sourceType"] = source == nullptr ? "" : source->type();
  json["sourceCategory"] = source == nullptr ? "" : source->category();
  json["destinationId"] = destination == nullptr ? "" : destination->id();
  json["destinationName"] = destination == nullptr ? "" : destination->name();
  json["destinationType"] = destination == nullptr ? "" : destination->type();
  return json;
}

std::string EventMetadata(const RealEvent& event) {
  const Json json = EventToJson(event.event);
  return Json{
      {"messageId", event.meta.message_id()},
      {"receivedAt", FormatRfc3339Millis(event.meta.received_at_us())},
      {"eventName", json.value("event", Json(""))},
      {"eventType", json.value("type", Json(""))},
      {"rudderId", event.meta.user_id().empty() ? event.meta.anonymous_id() : event.meta.user_id()},
      {"recordId", json.value("recordId", Json())},
      {"jobId", 0}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

template <typename List>
StatusOr<const typename List::value_type*> Named(const List& list, const std::string& kind,
                                                 const std::string& id) {
  for (const auto& one : list) {
    if (one.id() == id || one.name() == id) return &one;
  }
  return Error(StatusCode::kNotFound, "there is no {} '{}'", kind, id);
}

void SetError(const Output& output, const SecretMask& mask, config::v1::TestError* error) {
  error->set_class_(output.error_class);
  error->set_message(mask.Text(output.error));
  error->set_stack(mask.Text(output.stack));
}

TestOutcome OutcomeOf(const RealEvent& event, const Output& output, const SecretMask& mask) {
  TestOutcome outcome;
  outcome.set_message_id(event.meta.message_id());
  outcome.set_event_json(event.event);
  for (const Bytes& made : output.events) outcome.add_outputs_json(mask.Json(made.view()));
  outcome.set_dropped(output.error.empty() && output.events.empty());
  if (!output.error.empty()) SetError(output, mask, outcome.mutable_error());
  for (const std::string& line : output.log) outcome.add_logs(mask.Text(line));
  outcome.set_cpu_us(output.cpu_us);
  outcome.set_peak_bytes(output.peak_bytes);
  return outcome;
}

void Compare(const Output& in_force, const SecretMask& mask, TestOutcome* outcome) {
  JsonTexts before;
  for (const Bytes& made : in_force.events) *before.Add() = mask.Json(made.view());
  *outcome->mutable_differences() = Differences(before, outcome->outputs_json());
  outcome->set_same(outcome->differences().empty() &&
                    in_force.error.empty() == !outcome->has_error());
  if (outcome->same()) return;
  *outcome->mutable_in_force_json() = before;
  if (!in_force.error.empty()) SetError(in_force, mask, outcome->mutable_in_force_error());
}

void AddUp(const TestOutcome& outcome, bool compared, TestResponse* response) {
  response->set_events(response->events() + 1);
  response->set_produced(response->produced() + outcome.outputs_json_size());
  if (outcome.dropped()) response->set_dropped(response->dropped() + 1);
  if (outcome.has_error()) response->set_failed(response->failed() + 1);
  if (compared && !outcome.same()) response->set_different(response->different() + 1);
  response->set_cpu_us(response->cpu_us() + outcome.cpu_us());
  response->set_peak_bytes(std::max(response->peak_bytes(), outcome.peak_bytes()));
}

}  // namespace

struct ScriptTestRun::Plan {
  config::v1::Workspace workspace;  // in force, with the libraries of the request
  config::v1::Workspace in_force_workspace;
  config::v1::TransformationVersion candidate;
  std::optional<config::v1::TransformationVersion> in_force;
  const config::v1::Source* source = nullptr;
  const config::v1::Destination* destination = nullptr;
  std::vector<RealEvent> events;
  SteadyClock::time_point deadline;
  transformation::TransformerFactory* factory = nullptr;
};

Status ScriptTestRun::FindVersions(const TestRequest& request, Plan* plan) {
  const ScriptDraft draft(deps_);
  plan->in_force_workspace = draft.workspace();
  plan->workspace = draft.workspace();
  config::v1::ScriptVersion version;
  std::string id;
  if (!request.id().empty()) {
    MR_ASSIGN_OR_RETURN(const auto script, draft.Find(TRANSFORMATION, request.id()));
    MR_ASSIGN_OR_RETURN(version, draft.FindVersion(script, request.version()));
    id = script.id();
    for (const auto& one : plan->workspace.transformations()) {
      if (one.id() == id && one.has_published()) plan->in_force = one.published();
    }
  }
  if (request.has_code()) {
    version.set_code(request.code());
    version.set_id("unsaved-" + NewUuid());
    version.set_number(0);
  }
  if (request.has_kind()) version.set_kind(request.kind());
  if (request.has_limits()) *version.mutable_limits() = request.limits();
  if (!request.libraries().empty()) {
    MR_RETURN_IF_ERROR(draft.ResolveLibraries(request.libraries(), version.mutable_libraries()));
  }
  MR_RETURN_IF_ERROR(CheckVersion(TRANSFORMATION, version));
  for (const auto& library : request.library_code()) {
    EraseIf(plan->workspace.mutable_library_versions(), [&](const auto& one) {
      return one.import_name() == library.import_name() && one.published();
    });
    auto* made = plan->workspace.add_library_versions();
    made->set_id("unsaved-" + NewUuid());
    made->set_library_id(made->id());
    made->set_import_name(library.import_name());
    made->set_code(library.code());
    made->set_published(true);
  }
  // What a version pins need not be in the snapshot while it is not in force.
  for (const auto& pin : version.libraries()) {
    if (pin.library_version_id().empty()) continue;
    MR_ASSIGN_OR_RETURN(const auto library, draft.Find(config::v1::LIBRARY, pin.import_name()));
    MR_ASSIGN_OR_RETURN(const auto found, draft.FindVersion(library, pin.library_version_id()));
    const auto& held = plan->workspace.library_versions();
    if (std::none_of(held.begin(), held.end(),
                     [&](const auto& one) { return one.id() == found.id(); })) {
      *plan->workspace.add_library_versions() = ToLibraryVersion(library, found);
    }
  }
  plan->candidate = ToTransformationVersion(id, version);
  return OkStatus();
}

Status ScriptTestRun::FindEvents(const TestRequest& request, Plan* plan) {
  if (!request.destination().empty()) {
    MR_ASSIGN_OR_RETURN(plan->destination, Named(plan->workspace.destinations(), "destination",
                                                 request.destination()));
  }
  if (!request.source().empty()) {
    MR_ASSIGN_OR_RETURN(plan->source, Named(plan->workspace.sources(), "source", request.source()));
  }
  if (request.events_json().empty()) {
    if (plan->source == nullptr) {
      return MakeStatus(
          StatusCode::kInvalidArgument,
          "give events, a list, or source and last for the last real events of a source");
    }
    const uint32_t last = request.last() == 0 ? kDefaultLast : request.last();
    if (last > kMaxEvents) {
      return Error(StatusCode::kInvalidArgument, "last: must be at most {}", kMaxEvents);
    }
    MR_ASSIGN_OR_RETURN(plan->events, LastEvents(log_, plan->source->id(), last, plan->deadline));
    if (!plan->events.empty()) return OkStatus();
    return Error(StatusCode::kNotFound,
                 "source '{}' has no events in the log any more; give events",
                 plan->source->name());
  }
  if (static_cast<size_t>(request.events_json_size()) > kMaxEvents) {
    return Error(StatusCode::kInvalidArgument, "events: are {}, the limit is {}",
                 request.events_json_size(), kMaxEvents);
  }
  for (int i = 0; i < request.events_json_size(); ++i) {
    RealEvent event{.event = request.events_json(i)};
    const auto json = ParseJson(event.event);
    if (!json.ok() || !json->is_object()) {
      return Error(StatusCode::kInvalidArgument, "events[{}]: must be an object", i);
    }
    if (event.event.size() > kMaxEventBytes) {
      return Error(StatusCode::kInvalidArgument, "events[{}]: is {} bytes, the limit is {}", i,
                   event.event.size(), kMaxEventBytes);
    }
    const auto text = [&](const char* key) {
      const auto found = json->find(key);
      return found != json->end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    event.meta.set_message_id(text("messageId").empty() ? fmt::format("test-{}", i + 1)
                                                        : text("messageId"));
    event.meta.set_user_id(text("userId"));
    event.meta.set_anonymous_id(text("anonymousId"));
    event.meta.set_received_at_us(deps_.clock.NowMicros());
    plan->events.push_back(std::move(event));
  }
  return OkStatus();
}

StatusOr<std::vector<Output>> ScriptTestRun::RunVersion(
    const config::v1::TransformationVersion& version, const config::v1::Workspace& workspace,
    const Plan& plan, const std::stop_token& stop) {
  MR_ASSIGN_OR_RETURN(const auto transformer, plan.factory->Make(version, workspace));
  const auto metadata = std::make_shared<const std::string>(
      SharedMetadata(workspace, version, plan.source, plan.destination).dump());
  const auto waiting = std::make_shared<Waiting>();
  waiting->state = transformation::MakeMemoryState(SystemClock());  // may outlive this object
  for (const RealEvent& event : plan.events)
    waiting->message_ids.push_back(event.meta.message_id());
  std::vector<Output> outputs;
  size_t output_bytes = 0;
  while (outputs.size() < plan.events.size()) {
    const size_t begin = outputs.size();
    if (stop.stop_requested())
      return MakeStatus(StatusCode::kUnavailable, "the control plane stops");
    std::vector<Input> inputs;
    for (size_t i = begin; i < std::min(begin + kBatch, plan.events.size()); ++i) {
      const RealEvent& event = plan.events[i];
      inputs.push_back({.event = Bytes(event.event),
                        .metadata_json = EventMetadata(event),
                        .message_id = waiting->message_ids[i],
                        .now_us = deps_.clock.NowMicros(),
                        .seed = "test " + event.meta.message_id(),
                        .user = std::hash<std::string>()(event::UserKey(
                            workspace.id(), event.meta.user_id(), event.meta.anonymous_id()))});
    }
    transformer->Run(std::move(inputs),
                     {.metadata_json = metadata, .state = waiting->state.get(), .test = true},
                     [waiting, transformer](std::vector<Output> done) {
                       MutexLock lock(waiting->mu);
                       waiting->outputs = std::move(done);
                       waiting->changed.notify_all();
                     });
    std::unique_lock lock(waiting->mu);
    const bool came = waiting->changed.wait_until(lock, stop, plan.deadline,
                                                  [&] { return waiting->outputs.has_value(); });
    if (!came && stop.stop_requested()) {
      return MakeStatus(StatusCode::kUnavailable, "the control plane stops");
    }
    if (!came) {
      return Error(StatusCode::kDeadlineExceeded,
                   "the run took longer than {} s, and {} of {} events were done; give fewer "
                   "events, or make "
                   "the code faster",
                   kDeadline.count(), begin, plan.events.size());
    }
    for (Output& output : *waiting->outputs) {
      output_bytes += SizeOf(output);
      outputs.push_back(std::move(output));
    }
    waiting->outputs.reset();
    if (output_bytes > kMaxOutputBytes) {
      return Error(
          StatusCode::kInvalidArgument,
          "the first {} of {} events made {} bytes of outputs and logs, the limit of a run "
          "is {}; give fewer events, or return less",
          outputs.size(), plan.events.size(), output_bytes, kMaxOutputBytes);
    }
  }
  return outputs;
}

StatusOr<TestResponse> ScriptTestRun::Run(const TestRequest& request, const std::stop_token& stop) {
  const TransformerProvider& transformers =
      deps_.test_transformers ? deps_.test_transformers : deps_.transformers;
  if (!transformers) {
    return MakeStatus(StatusCode::kUnimplemented, "this process runs no transformations");
  }
  Plan plan;
  plan.deadline = SteadyClock::now() + kDeadline;
  MR_RETURN_IF_ERROR(FindVersions(request, &plan));
  MR_RETURN_IF_ERROR(FindEvents(request, &plan));
  const SecretMask mask(plan.workspace);
  MR_ASSIGN_OR_RETURN(plan.factory, transformers());
  config::v1::CodeFaults faults;
  AddFaults(request.id().empty() ? "transformation" : request.id(),
            plan.factory->Check(plan.candidate, plan.workspace), &faults);
  if (!faults.faults().empty()) return mask.Apply(FaultStatus(faults));
  const auto outputs = RunVersion(plan.candidate, plan.workspace, plan, stop);
  if (!outputs.ok()) return mask.Apply(outputs.status());
  std::vector<Output> in_force;
  TestResponse response;
  if (plan.in_force.has_value()) {
    auto before = RunVersion(*plan.in_force, plan.in_force_workspace, plan, stop);
    if (!before.ok()) return mask.Apply(Annotate(before.status(), "the version in force"));
    in_force = *std::move(before);
    response.set_in_force_version_id(plan.in_force->id());
  }
  for (size_t i = 0; i < outputs->size(); ++i) {
    TestOutcome outcome = OutcomeOf(plan.events[i], (*outputs)[i], mask);
    if (i < in_force.size()) Compare(in_force[i], mask, &outcome);
    AddUp(outcome, i < in_force.size(), &response);
    *response.add_outcomes() = std::move(outcome);
  }
  return response;
}

}  // namespace millrace::control_plane
