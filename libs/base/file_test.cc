#include "libs/base/file.h"

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include <filesystem>

#include "libs/base/ids.h"

namespace millrace {

TEST_CASE("files are replaced whole, with the mode asked for", "[file]") {
  const auto folder = std::filesystem::temp_directory_path() / ("millrace-" + NewUuid());
  const std::string path = (folder / "a" / "b").string();
  REQUIRE(MakeFolders((folder / "a").string()).ok());
  REQUIRE(WriteFileAtomically(path, "one", 0600).ok());
  REQUIRE(WriteFileAtomically(path, "two", 0600).ok());
  CHECK(*ReadFile(path) == "two");
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  CHECK(ReadFile(path + "x").status().code() == StatusCode::kNotFound);
  CHECK_FALSE(MakeFolders(path).ok());
  std::filesystem::remove_all(folder);
}

}  // namespace millrace
