#pragma once

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

#include "libs/event_log/local/test_folder.h"
#include "services/control-plane/script_draft.h"
#include "services/control-plane/test_factory.h"
#include "services/control-plane/testing.h"
#include "services/control-plane/workspace_document.h"

/// Documents applied to a workspace that a test holds.
namespace millrace::control_plane {

using Json = nlohmann::json;
using config::v1::Workspace;
using Strings = std::vector<std::string>;

/// What drafts stand on.
struct DraftParts {
  event_log::TestFolder folder;
  std::unique_ptr<Store> store = *Store::Open(folder.path() + "/store.db");
  config::LocalSource config;
  FakeClock clock;
  TestFactory factory;
  ScriptDeps deps{.store = *store, .config = config, .clock = clock, .transformers = [this] {
                    return &factory;
                  }};
};

inline StatusOr<std::vector<PlannedChange>> ApplyTo(const Json& document, Workspace* workspace,
                                                    bool prune = false, int64_t now_us = 1000) {
  DraftParts parts;
  parts.clock = FakeClock(now_us);
  parts.config.Set(std::make_shared<const Workspace>(*workspace));
  ScriptDraft draft(parts.deps);
  auto plan = ApplyDocument(document, TestHooks(), prune, &draft);
  *workspace = draft.workspace();
  return plan;
}

inline Strings Apply(const Json& document, Workspace* workspace, bool prune = false,
                     int64_t now_us = 1000) {
  const auto plan = ApplyTo(document, workspace, prune, now_us);
  INFO(Message(plan.status()));
  REQUIRE(plan.ok());
  Strings lines;
  for (const auto& change : *plan)
    lines.push_back(change.action + " " + change.kind + " " + change.name);
  return lines;
}

}  // namespace millrace::control_plane
