// Runs the golden cases of one destination folder: destination_golden FOLDER.
//
// FOLDER/testdata/*.json holds lists of cases. Each has a name and is of one of these forms:
//
//   {name, config, event, changed?, expect: [request...]}
//       The requests that the event becomes; [] when it is declined.
//   {name, config, event, changed?, error: text}
//       The event cannot be mapped; text is part of the message.
//   {name, config, invalid: text}
//       The configuration is refused.
//   {name, config?, response: {status, network_error?}, verdict: "delivered" | "retry" | "abort"}
//
// A request is {method, url, headers?, json? | body?}; its headers are compared when the case
// lists them. `changed` lists the routing keys of the event that a transformation set.
// context.now is 2024-01-02T03:04:05.678Z.
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <iostream>

#include "libs/base/file.h"
#include "libs/destination/catalogue.h"
#include "libs/destination/script_mapper.h"

namespace millrace::destination {
namespace {

using Json = nlohmann::json;
constexpr int64_t kNowUs = 1'704'164'645'678'000;

MapResult MapOne(Mapper& mapper, const Json& test) {
  std::promise<std::vector<MapResult>> promise;
  mapper.Map({MapInput{.event = Bytes(test["event"].dump()),
                       .now_us = kNowUs,
                       .uuid_seed = "golden",
                       .changed_keys = test.value("changed", std::vector<std::string>())}},
             [&](std::vector<MapResult> results) { promise.set_value(std::move(results)); });
  return promise.get_future().get().at(0);
}

/// The request as JSON with the members that `expected` lists.
Json ToJson(const Prepared& request, const Json& expected) {
  Json out = {{"method", request.method}, {"url", request.url}};
  if (expected.contains("headers")) {
    out["headers"] = Json::object();
    for (const auto& [name, value] : request.headers) out["headers"][name] = value;
  }
  if (expected.contains("json")) {
    out["json"] = Json::parse(request.body, nullptr, false);
  } else if (expected.contains("body") || !request.body.empty()) {
    out["body"] = request.body;
  }
  return out;
}

std::string CheckRequests(const MapResult& result, const Json& expect) {
  if (!result.error.empty()) return fmt::format("failed: {}\n{}", result.error, result.stack);
  Json got = Json::array();
  for (size_t i = 0; i < result.requests.size(); ++i) {
    got.push_back(ToJson(result.requests[i], i < expect.size() ? expect[i] : Json::object()));
  }
  return got == expect ? ""
                       : fmt::format("got      {}\n    expected {}", got.dump(), expect.dump());
}

std::string CheckError(std::string_view message, const Json& part) {
  const auto wanted = part.get<std::string>();
  if (!message.empty() && message.find(wanted) != std::string_view::npos) return "";
  return fmt::format("the error is '{}', expected '{}'", message, wanted);
}

std::string CheckVerdict(const v1::Definition& definition, const Json& test) {
  static constexpr const char* kNames[] = {"delivered", "retry", "abort"};
  Answer response;
  response.status = test["response"].value("status", 0);
  response.network_error = test["response"].value("network_error", "");
  const std::string got = kNames[static_cast<int>(Judge(definition, response))];
  return got == test["verdict"] ? "" : fmt::format("the verdict is {}", got);
}

/// What is wrong, or "".
std::string RunCase(const DestinationType& type, const Json& test, script::WorkerPool& pool) {
  if (test.contains("response")) return CheckVerdict(type.definition, test);
  const std::string config = test.value("config", Json::object()).dump();
  const auto read = NormaliseConfig(type.definition, config);
  if (test.contains("invalid")) return CheckError(Message(read.status()), test["invalid"]);
  if (!read.ok()) return std::string(Message(read.status()));
  auto mapper = MakeMapper(type.definition, type.mapping_source, *read, pool);
  if (!mapper.ok()) return std::string(Message(mapper.status()));
  const MapResult result = MapOne(**mapper, test);
  if (test.contains("error")) return CheckError(result.error, test["error"]);
  return CheckRequests(result, test["expect"]);
}

Status Run(const std::string& folder) {
  Catalogue catalogue;
  MR_RETURN_IF_ERROR(catalogue.LoadFolder(std::filesystem::path(folder).parent_path().string()));
  const std::string id = std::filesystem::path(folder).filename().string();
  const DestinationType* type = nullptr;
  for (const DestinationType* candidate : catalogue.List()) {
    if (candidate->definition.id() == id) type = candidate;
  }
  if (type == nullptr)
    return Error(StatusCode::kInvalidArgument, "{} has no definition.yaml", folder);
  MR_ASSIGN_OR_RETURN(auto pool, script::WorkerPool::Start({}));
  int cases = 0;
  int failed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/testdata")) {
    if (entry.path().extension() != ".json") continue;
    MR_ASSIGN_OR_RETURN(const std::string text, ReadFile(entry.path().string()));
    const Json tests = Json::parse(text, nullptr, false);
    if (!tests.is_array()) {
      return Error(StatusCode::kInvalidArgument, "{}: is not a JSON list", entry.path().string());
    }
    for (const Json& test : tests) {
      ++cases;
      const std::string wrong = RunCase(*type, test, *pool);
      if (wrong.empty()) continue;
      ++failed;
      std::cout << entry.path().filename().string() << ": " << test.value("name", "?") << "\n    "
                << wrong << '\n';
    }
  }
  std::cout << id << ": " << cases - failed << " of " << cases << " cases pass\n";
  if (cases == 0 || failed > 0)
    return MakeStatus(StatusCode::kInvalidArgument, "golden cases fail");
  return OkStatus();
}

}  // namespace
}  // namespace millrace::destination

int main(int argc, char** argv) {
  millrace::script::MaybeRunWorker(argc, argv);
  if (argc != 2) {
    std::cerr << "usage: destination_golden FOLDER\n";
    return EXIT_FAILURE;
  }
  const millrace::Status status = millrace::destination::Run(argv[1]);
  if (!status.ok()) std::cerr << millrace::Message(status) << '\n';
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
