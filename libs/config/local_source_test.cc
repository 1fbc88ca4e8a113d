#include "libs/config/local_source.h"

#include <catch2/catch.hpp>

#include <vector>

namespace millrace::config {

TEST_CASE("listeners hear of the present and of each change until they leave", "[config]") {
  LocalSource source;
  CHECK(source.Current() == nullptr);
  const auto make = [](uint64_t revision) {
    v1::Workspace workspace;
    workspace.set_revision(revision);
    return std::make_shared<const v1::Workspace>(workspace);
  };
  std::vector<uint64_t> early, late;
  auto first = source.Subscribe([&](const WorkspacePtr& w) { early.push_back(w->revision()); });
  source.Set(make(1));
  auto second = source.Subscribe([&](const WorkspacePtr& w) { late.push_back(w->revision()); });
  first.reset();
  source.Set(make(2));
  CHECK(early == std::vector<uint64_t>{1});
  CHECK(late == std::vector<uint64_t>{1, 2});
  CHECK(source.Current()->revision() == 2);
}

}  // namespace millrace::config
