#pragma once

#include <string>
#include <string_view>

#include "services/control-plane/store.h"

/// What names, code and credentials must be like, and the forms in which the factory and the
/// services take versions.
namespace millrace::control_plane {

/// "my lib-name" as "myLibName"; "" when nothing is left.
std::string CamelCase(std::string_view name);

/// kInvalidArgument says which field is wrong. `existing`: as it was, or null.
Status CheckScript(config::v1::ScriptType type, const config::v1::Script& script,
                   const config::v1::Script* existing);
Status CheckVersion(config::v1::ScriptType type, const config::v1::ScriptVersion& version);
Status CheckCredential(const config::v1::Credential& credential);

/// Whether a value is what answers show in place of one.
bool IsMasked(std::string_view value);

config::v1::TransformationVersion ToTransformationVersion(const std::string& transformation_id,
                                                          const config::v1::ScriptVersion& version);
/// Not published.
config::v1::LibraryVersion ToLibraryVersion(const config::v1::Script& library,
                                            const config::v1::ScriptVersion& version);

/// Takes those that `wanted` picks out of a repeated field; whether there was one.
template <typename List, typename Wanted>
bool EraseIf(List* list, Wanted wanted) {
  List kept;
  for (auto& entity : *list) {
    if (!wanted(entity)) kept.Add()->Swap(&entity);
  }
  const bool erased = kept.size() != list->size();
  list->Swap(&kept);
  return erased;
}

}  // namespace millrace::control_plane
