#include "libs/destination/catalogue.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <filesystem>

#include "libs/base/file.h"
#include "libs/destination/builtin.h"
#include "libs/destination/definition.h"

namespace millrace::destination {
namespace {

std::string Upper(std::string_view text) {
  std::string upper(text);
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return upper;
}

}  // namespace

Catalogue Catalogue::Builtin() {
  Catalogue catalogue;
  for (const EmbeddedType& embedded : EmbeddedTypes()) {
    auto type = std::make_shared<DestinationType>();
    MR_CHECK(google::protobuf::util::JsonStringToMessage(std::string(embedded.definition_json),
                                                         &type->definition)
                 .ok());
    type->mapping_source = embedded.mapping_source;
    catalogue.Add(std::move(type));
  }
  return catalogue;
}

Status Catalogue::LoadFolder(const std::string& folder) {
  namespace fs = std::filesystem;
  std::vector<std::shared_ptr<const DestinationType>> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (!fs::exists(entry->path() / "definition.yaml")) continue;
    auto type = std::make_shared<DestinationType>();
    MR_ASSIGN_OR_RETURN(type->definition, ReadDefinition(entry->path().string()));
    if (type->definition.kind() == v1::HTTP_DESTINATION) {
      MR_ASSIGN_OR_RETURN(type->mapping_source, ReadFile((entry->path() / "mapping.js").string()));
    }
    found.push_back(std::move(type));
  }
  if (error) {
    return Error(StatusCode::kInvalidArgument, "destinations folder {}: {}", folder,
                 error.message());
  }
  for (auto& type : found) Add(std::move(type));
  return OkStatus();
}

void Catalogue::Add(std::shared_ptr<const DestinationType> type) {
  types_[Upper(type->definition.type())] = std::move(type);
}

const DestinationType* Catalogue::Find(std::string_view type) const {
  const auto found = types_.find(Upper(type));
  return found == types_.end() ? nullptr : found->second.get();
}

std::vector<const DestinationType*> Catalogue::List() const {
  std::vector<const DestinationType*> types;
  for (const auto& [name, type] : types_) types.push_back(type.get());
  std::sort(types.begin(), types.end(), [](const DestinationType* a, const DestinationType* b) {
    return a->definition.id() < b->definition.id();
  });
  return types;
}

}  // namespace millrace::destination
