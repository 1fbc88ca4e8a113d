// Recorded runs of RudderStack's user transformations: FOLDER/_user_transformation/cases.json.
#include <re2/re2.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>

#include "libs/base/file.h"
#include "libs/transformation/factory.h"
#include "tests/conformance/compare.h"
#include "tests/conformance/kind.h"
#include "tests/conformance/recorded.h"

namespace millrace::conformance {
namespace {

using transformation::Output;

constexpr uint32_t kCpuMs = 200;
constexpr char kEntry[] = "transformation";  // how our stacks call the version's own code

/// One thing that came out of a run: an event, or an error.
struct Item {
  Json event;
  std::optional<ErrorText> error;
  std::string message_id;  // of the event that went in; empty: not recorded
};

std::string Dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string TextOf(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// The name a library is imported by when only its title is recorded.
std::string CamelCase(const std::string& title) {
  std::string name;
  bool upper = false;
  for (const char c : title) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) {
      upper = !name.empty();
      continue;
    }
    name.push_back(upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c);
    upper = false;
  }
  if (!name.empty()) name[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(name[0])));
  return name;
}

struct Prepared {
  config::v1::Workspace workspace;
  config::v1::TransformationVersion version;
  FileNames files;  // of the peer's stacks
};

void AddLibrary(const std::string& id, const std::string& name, const Json& library,
                Prepared* prepared) {
  auto* version = prepared->workspace.add_library_versions();
  version->set_id(id);
  version->set_import_name(name);
  version->set_code(TextOf(library, "code"));
  version->set_published(true);
  prepared->files.emplace_back("library " + name, name);
}

Prepared Prepare(const Json& recorded, const Json& transformation) {
  Prepared prepared;
  prepared.workspace.set_id("workspace");
  prepared.version.set_id(recorded.value("versionId", "version"));
  prepared.version.set_transformation_id("transformation");
  prepared.version.set_code(TextOf(transformation, "code"));
  prepared.version.mutable_limits()->set_cpu_ms(kCpuMs);
  const std::string name = TextOf(transformation, "name");
  prepared.files.emplace_back(name.empty() ? "base transformation" : name, kEntry);
  const Json libraries = recorded.value("libraries", Json::object());
  for (const auto& [id, library] : libraries.items()) {
    std::string import_name = TextOf(library, "importName");
    if (import_name.empty()) import_name = TextOf(library, "handleName");
    if (import_name.empty()) import_name = CamelCase(TextOf(library, "name"));
    AddLibrary(id, import_name, library, &prepared);
  }
  const Json rudder_libraries = recorded.value("rudderLibraries", Json::object());
  for (const auto& [import_name, library] : rudder_libraries.items()) {
    AddLibrary(import_name, import_name, library, &prepared);
  }
  const Json events = recorded.value("events", Json::array());
  const Json credentials = events.empty() ? Json() : events[0].value("credentials", Json::array());
  for (const Json& one : credentials) {
    auto* credential = prepared.workspace.add_credentials();
    credential->set_key(TextOf(one, "key"));
    credential->set_value(TextOf(one, "value"));
    credential->set_secret(false);  // what a run gives back is compared as it is
  }
  return prepared;
}

std::string MessageId(const Json& event) {
  const std::string id = TextOf(event.value("metadata", Json::object()), "messageId");
  return id.empty() ? TextOf(event.at("message"), "messageId") : id;
}

/// What came out of our run, in the order of the inputs.
std::vector<Item> OurItems(const Json& events, const std::vector<Output>& outputs,
                           FileNames files) {
  for (auto& [peers, ours] : files) peers = ours == kEntry ? ours : "library " + ours;
  std::vector<Item> items;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string id = MessageId(events[i]);
    for (const Bytes& event : outputs[i].events) {
      items.push_back({Json::parse(event.view(), nullptr, false), std::nullopt, id});
    }
    if (!outputs[i].error.empty()) {
      items.push_back({Json(), ReadError(outputs[i].error + "\n" + outputs[i].stack, files), id});
    }
  }
  return items;
}

std::vector<Item> RecordedItems(const Json& output, const FileNames& files) {
  const Json none = Json::array();
  const Json& list = output.is_array() ? output : output.value("transformedEvents", none);
  std::vector<Item> items;
  for (const Json& one : list) {
    Item item;
    const Json metadata = one.value("metadata", Json::object());
    const bool wrapped = one.contains("transformedEvent");
    const bool alone = one.size() == 1 || (one.size() == 2 && one.contains("metadata"));
    if (wrapped || (one.contains("error") && alone))
      item.message_id = TextOf(metadata, "messageId");
    if (wrapped) {
      item.event = one["transformedEvent"];
    } else if (one.contains("error") && one["error"].is_string() && alone) {
      item.error = ReadError(one["error"].get<std::string>(), files);
    } else {
      item.event = one;
    }
    items.push_back(std::move(item));
  }
  return items;
}

std::string CompareItems(const Item& recorded, const Item& ours) {
  if (recorded.error.has_value() != ours.error.has_value()) {
    const auto show = [](const Item& item) {
      return item.error.has_value() ? "error '" + item.error->message + "'"
                                    : Dump(item.event).substr(0, 200);
    };
    return "recorded " + show(recorded) + ", ours " + show(ours);
  }
  if (!recorded.message_id.empty() && recorded.message_id != ours.message_id) {
    return "recorded for event " + recorded.message_id + ", ours for " + ours.message_id;
  }
  if (recorded.error.has_value()) return CompareErrors(*recorded.error, *ours.error);
  return CompareJson(recorded.event, ours.event);
}

/// A batch that fails is one error at the peer and one of each event here.
void MergeErrors(std::vector<Item>* items) {
  std::vector<Item> kept;
  for (Item& item : *items) {
    const bool again =
        item.error.has_value() && std::any_of(kept.begin(), kept.end(), [&](const Item& one) {
          return one.error.has_value() && one.error->message == item.error->message &&
                 one.error->frames == item.error->frames;
        });
    if (!again) kept.push_back(std::move(item));
  }
  *items = std::move(kept);
}

std::string CompareLists(std::vector<Item> recorded, std::vector<Item> ours, bool batch) {
  if (batch) {
    MergeErrors(&recorded);
    MergeErrors(&ours);
  }
  // The peer fails a batch as a whole; here events go on that are not at fault.
  if (batch && recorded.size() == 1 && recorded[0].error.has_value()) {
    for (Item& item : ours) {
      if (CompareItems(recorded[0], item).empty()) return {};
    }
  }
  if (recorded.size() != ours.size()) {
    return fmt::format("recorded {} outputs, ours {}", recorded.size(), ours.size());
  }
  for (size_t i = 0; i < recorded.size(); ++i) {
    std::string found = CompareItems(recorded[i], ours[i]);
    // A batch may come back in any order; ours are in that of the inputs.
    for (size_t j = i + 1; batch && !found.empty() && j < ours.size(); ++j) {
      if (!CompareItems(recorded[i], ours[j]).empty()) continue;
      std::swap(ours[i], ours[j]);
      found.clear();
    }
    if (!found.empty()) return fmt::format("output {}: {}", i, found);
  }
  return {};
}

/// A case that failed as a whole: ours must not have been made, or its events must have failed so;
/// of a batch those at fault.
std::string CompareFailure(const std::string& name, const std::string& recorded, const Status& made,
                           const std::vector<Output>& outputs, bool batch) {
  const std::string full = name.empty() ? recorded : name + ": " + recorded;
  const bool timeout = RE2::PartialMatch(recorded, "(?i)tim(ed|e) ?out");
  const auto same = [&](const std::string& ours) {
    return ours.find(recorded) != std::string::npos || SameMessage(full, ours);
  };
  if (!made.ok()) {
    const std::string ours(Message(made));
    const size_t place = ours.find(": ");  // "where:line:column: message"
    if (same(ours) || (place != std::string::npos && same(ours.substr(place + 2)))) return {};
    return "recorded failure '" + full + "', ours '" + ours + "'";
  }
  size_t failed = 0;
  for (const Output& output : outputs) {
    if (timeout ? output.error_class == "timeout" : !output.error.empty() && same(output.error))
      ++failed;
  }
  if (failed == outputs.size() || (batch && !timeout && failed > 0)) return {};
  return fmt::format("recorded failure '{}', of ours {} of {} events fail so", full, failed,
                     outputs.size());
}

std::string CompareLogs(const Json& recorded, const std::vector<Output>& outputs) {
  Json ours = Json::array();
  for (const Output& output : outputs) {
    for (const std::string& line : output.log) ours.push_back("Log: " + line);
  }
  return CompareJson(recorded, ours, "logs");
}

std::string RunCase(const Json& recorded, const Json& transformation, script::WorkerPool& pool) {
  const Prepared prepared = Prepare(recorded, transformation);
  const Json fetches = recorded.value("fetches", Json::array());
  const Json output = recorded.value("output", Json::array());
  const Json events = recorded.value("events", Json::array());
  RecordedFetcher fetcher(fetches);
  RecordedGeolocation geolocation(output);
  const auto factory = transformation::MakeTransformerFactory(
      {.pool = &pool,
       .fetcher = &fetcher,
       .geolocation = geolocation.available() ? &geolocation : nullptr});
  auto made = factory->Make(prepared.version, prepared.workspace);
  const std::string failure = TextOf(recorded, "error");
  const std::string name = TextOf(recorded, "errorName");
  const bool batch = prepared.version.code().find("transformEvent") == std::string::npos;
  if (!made.ok()) {
    if (!failure.empty()) return CompareFailure(name, failure, made.status(), {}, batch);
    return "cannot be made: " + std::string(Message(made.status()));
  }
  std::vector<transformation::Input> inputs;
  for (const Json& event : events) {
    inputs.push_back({.event = Bytes(Dump(event.at("message"))),
                      .metadata_json = Dump(event.value("metadata", Json::object())),
                      .seed = "seed"});
  }
  transformation::RunContext context;
  context.test = recorded.value("testMode", false);
  const std::vector<Output> outputs = RunAndWait(**made, std::move(inputs), context);
  if (!failure.empty()) return CompareFailure(name, failure, OkStatus(), outputs, batch);
  std::string found = CompareLists(RecordedItems(output, prepared.files),
                                   OurItems(events, outputs, prepared.files), batch);
  if (found.empty()) found = fetcher.Complaint();
  if (found.empty() && output.is_object()) {
    found = CompareLogs(output.value("logs", Json::array()), outputs);
  }
  return found;
}

/// The reason why this case cannot pass; empty: none is known.
std::string ExceptionOf(const Json& exceptions, const Json& recorded) {
  const Json output = recorded.value("output", Json::array());
  std::vector<std::string> errors = {TextOf(recorded, "error")};
  for (const Item& item : RecordedItems(output, {})) {
    if (item.error.has_value()) errors.push_back(item.error->message);
  }
  for (const Json& one : exceptions) {
    const RE2 error(one.value("recorded_error", ".*"));
    const RE2 description(one.value("description", ""));
    if (RE2::PartialMatch(TextOf(recorded, "test"), description) &&
        std::any_of(errors.begin(), errors.end(),
                    [&](const std::string& text) { return RE2::PartialMatch(text, error); })) {
      return TextOf(one, "reason");
    }
  }
  return {};
}

StatusOr<Json> ReadJson(const std::string& path) {
  MR_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) return Error(StatusCode::kInvalidArgument, "{} is not a JSON array", path);
  return json;
}

bool IsJavaScript(const Json& transformation) {
  const std::string language = TextOf(transformation, "language");
  return language.empty() || language == "javascript";
}

}  // namespace

Status RunTransformations(const KindOptions& options,
                          const std::function<void(CaseResult)>& report) {
  MR_ASSIGN_OR_RETURN(const Json cases,
                      ReadJson(options.folder + "/_user_transformation/cases.json"));
  Json exceptions = Json::array();
  if (std::filesystem::exists(options.exceptions)) {
    MR_ASSIGN_OR_RETURN(exceptions, ReadJson(options.exceptions));
  }
  MR_ASSIGN_OR_RETURN(const auto pool,
                      script::WorkerPool::Start({.hang_grace = std::chrono::seconds(20)}));
  EarlierCode earlier;
  int number = -1;
  for (const Json& recorded : cases) {
    CaseResult result{.name = fmt::format("{} {}", ++number, TextOf(recorded, "test"))};
    const Json* transformation =
        recorded.contains("transformation") ? &recorded["transformation"] : earlier.Find(recorded);
    if (transformation == nullptr) {
      result.outcome = Outcome::kLeftOut;
      result.reason = "the file does not tell the code";
    } else if (!IsJavaScript(*transformation)) {
      result.outcome = Outcome::kLeftOut;
      result.reason = kPython;
    } else {
      if (recorded.contains("transformation")) earlier.Add(recorded);
      const std::string known = ExceptionOf(exceptions, recorded);
      try {
        result.reason = RunCase(recorded, *transformation, *pool);
      } catch (const Json::exception& error) {
        result.reason = std::string("the case has another form: ") + error.what();
      }
      if (!result.reason.empty()) {
        result.outcome = known.empty() ? Outcome::kFailed : Outcome::kLeftOut;
        if (!known.empty()) result.reason = known;
      } else if (!known.empty()) {
        result.reason = "passes, though it is listed as one that cannot: " + known;
      }
    }
    report(std::move(result));
  }
  return OkStatus();
}

}  // namespace millrace::conformance
