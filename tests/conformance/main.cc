// Runs recorded cases of a peer: conformance --cases DIR [--kind KIND] [--exceptions DIR] [--json].
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>
#include <map>

#include "libs/script/worker.h"
#include "tests/conformance/kind.h"

namespace millrace::conformance {
namespace {

const std::map<std::string, RunKind>& Kinds() {
  static const std::map<std::string, RunKind> kinds = {{"transformations", &RunTransformations}};
  return kinds;
}

struct Counts {
  int passed = 0;
  int failed = 0;
  std::map<std::string, int> left_out;  // by reason
};

void Report(const std::string& kind, const CaseResult& result, bool json, Counts* counts) {
  const char* outcome = "passed";
  if (result.outcome == Outcome::kPassed) ++counts->passed;
  if (result.outcome == Outcome::kFailed) {
    outcome = "failed";
    ++counts->failed;
  }
  if (result.outcome == Outcome::kLeftOut) {
    outcome = "left_out";
    ++counts->left_out[result.reason];
  }
  if (json) {
    const nlohmann::json line = {
        {"kind", kind}, {"case", result.name}, {"outcome", outcome}, {"reason", result.reason}};
    std::printf("%s\n",
                line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else if (result.outcome == Outcome::kFailed) {
    std::printf("FAIL %s\n     %s\n", result.name.c_str(), result.reason.c_str());
  } else if (!result.reason.empty() && result.reason != kPython) {
    std::printf("%s %s\n     %s\n", result.outcome == Outcome::kPassed ? "NOTE" : "LEFT",
                result.name.c_str(), result.reason.c_str());
  }
  std::fflush(stdout);
}

int Run(const std::string& cases, const std::string& only, const std::string& exceptions,
        bool json) {
  // An archive of cases holds them in a folder `open`.
  const std::string folder =
      std::filesystem::is_directory(cases + "/open") ? cases + "/open" : cases;
  Counts counts;
  for (const auto& [kind, run] : Kinds()) {
    if (!only.empty() && only != kind) continue;
    const KindOptions options{.folder = folder, .exceptions = exceptions + "/" + kind + ".json"};
    const Status status =
        run(options, [&](const CaseResult& result) { Report(kind, result, json, &counts); });
    if (!status.ok()) {
      std::fprintf(stderr, "conformance: %s: %s\n", kind.c_str(),
                   std::string(Message(status)).c_str());
      ++counts.failed;
    }
  }
  for (const auto& [reason, count] : counts.left_out) {
    if (!json) std::printf("left out: %d, %s\n", count, reason.c_str());
  }
  std::printf("%d passed, %d failed\n", counts.passed, counts.failed);
  return counts.failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace millrace::conformance

int main(int argc, char** argv) {
  millrace::script::MaybeRunWorker(argc, argv);
  CLI::App app("Runs recorded cases of a peer");
  std::string cases;
  std::string kind;
  std::string exceptions = ".";
  bool json = false;
  std::vector<std::string> kinds;
  for (const auto& [name, run] : millrace::conformance::Kinds()) kinds.push_back(name);
  app.add_option("--cases", cases, "Folder of the cases")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--kind", kind, "Only this kind")->check(CLI::IsMember(kinds));
  app.add_option("--exceptions", exceptions, "Folder of the lists of cases that cannot pass");
  app.add_flag("--json", json, "One JSON object per case");
  CLI11_PARSE(app, argc, argv);
  return millrace::conformance::Run(cases, kind, exceptions, json);
}
