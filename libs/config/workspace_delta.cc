#include "libs/config/workspace_delta.h"

#include <google/protobuf/util/message_differencer.h>

#include <utility>

#include "libs/base/string_map.h"

namespace millrace::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::util::MessageDifferencer;

const Reflection& ReflectionOf(const Message& message) {
  return *message.GetReflection();
}

/// By what entities of a list are told apart; null: these have nothing of the kind.
const FieldDescriptor* KeyOf(const google::protobuf::Descriptor& entity) {
  const FieldDescriptor* id = entity.FindFieldByName("id");
  return id != nullptr ? id : entity.FindFieldByName("key");
}

/// The workspace's lists of entities.
std::vector<const FieldDescriptor*> Lists() {
  std::vector<const FieldDescriptor*> lists;
  const auto& descriptor = *v1::Workspace::descriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (!field.is_repeated()) continue;
    // A list that no delta can carry must not come to be.
    MR_CHECK(field.message_type() != nullptr && KeyOf(*field.message_type()) != nullptr);
    lists.push_back(&field);
  }
  return lists;
}

std::string KeyOf(const Message& entity) {
  return ReflectionOf(entity).GetString(entity, KeyOf(*entity.GetDescriptor()));
}

v1::ListDelta DiffList(const v1::Workspace& from, const v1::Workspace& to,
                       const FieldDescriptor& list) {
  const Reflection& reflection = ReflectionOf(from);
  StringMap<const Message*> before;
  for (int i = 0; i < reflection.FieldSize(from, &list); ++i) {
    const Message& entity = reflection.GetRepeatedMessage(from, &list, i);
    before[KeyOf(entity)] = &entity;
  }
  v1::ListDelta delta;
  delta.set_field(static_cast<uint32_t>(list.number()));
  for (int i = 0; i < reflection.FieldSize(to, &list); ++i) {
    const Message& entity = reflection.GetRepeatedMessage(to, &list, i);
    const auto found = before.find(KeyOf(entity));
    if (found == before.end() || !MessageDifferencer::Equals(*found->second, entity)) {
      delta.add_upserted(entity.SerializeAsString());
    }
    if (found != before.end()) before.erase(found);
  }
  for (const auto& [key, entity] : before) delta.add_deleted(key);
  return delta;
}

Status PatchList(const v1::ListDelta& delta, v1::Workspace* workspace) {
  const FieldDescriptor* list =
      v1::Workspace::descriptor()->FindFieldByNumber(static_cast<int>(delta.field()));
  if (list == nullptr || !list->is_repeated() || list->message_type() == nullptr) {
    return Error(StatusCode::kFailedPrecondition, "a change of list {} came, which is not known",
                 delta.field());
  }
  const Reflection& reflection = ReflectionOf(*workspace);
  const StringSet gone(delta.deleted().begin(), delta.deleted().end());
  StringMap<int> places;
  int kept = 0;
  for (int i = 0; i < reflection.FieldSize(*workspace, list); ++i) {
    const std::string key = KeyOf(reflection.GetRepeatedMessage(*workspace, list, i));
    if (gone.contains(key)) continue;
    if (kept != i) reflection.SwapElements(workspace, list, kept, i);
    places[key] = kept++;
  }
  while (reflection.FieldSize(*workspace, list) > kept) reflection.RemoveLast(workspace, list);
  for (const std::string& bytes : delta.upserted()) {
    Message* entity = reflection.AddMessage(workspace, list);
    if (!entity->ParseFromString(bytes)) {
      return Error(StatusCode::kFailedPrecondition, "a change of {} came that cannot be read",
                   list->name());
    }
    const int last = reflection.FieldSize(*workspace, list) - 1;
    const auto [place, fresh] = places.try_emplace(KeyOf(*entity), last);
    if (fresh) continue;
    reflection.SwapElements(workspace, list, place->second, last);
    reflection.RemoveLast(workspace, list);
  }
  return OkStatus();
}

/// All of `workspace` but its lists.
v1::Workspace HeadOf(const v1::Workspace& workspace) {
  v1::Workspace head = workspace;
  for (const FieldDescriptor* list : Lists()) ReflectionOf(head).ClearField(&head, list);
  return head;
}

}  // namespace

v1::WorkspaceDelta MakeDelta(const v1::Workspace& from, const v1::Workspace& to) {
  v1::WorkspaceDelta delta;
  delta.set_from_revision(from.revision());
  delta.set_to_revision(to.revision());
  *delta.mutable_head() = HeadOf(to);
  for (const FieldDescriptor* list : Lists()) {
    v1::ListDelta changes = DiffList(from, to, *list);
    if (changes.upserted().empty() && changes.deleted().empty()) continue;
    *delta.add_lists() = std::move(changes);
  }
  return delta;
}

StatusOr<v1::Workspace> ApplyDelta(const v1::Workspace& workspace,
                                   const v1::WorkspaceDelta& delta) {
  if (delta.from_revision() != workspace.revision()) {
    return Error(StatusCode::kFailedPrecondition,
                 "a change of revision {} came, revision {} is held", delta.from_revision(),
                 workspace.revision());
  }
  if (!delta.has_head()) {
    return Error(StatusCode::kFailedPrecondition,
                 "a change came in the form of another version of Millrace");
  }
  v1::Workspace next = HeadOf(delta.head());
  v1::Workspace lists = workspace;
  for (const v1::ListDelta& changes : delta.lists()) MR_RETURN_IF_ERROR(PatchList(changes, &lists));
  ReflectionOf(next).SwapFields(&next, &lists, Lists());
  next.set_revision(delta.to_revision());
  return next;
}

}  // namespace millrace::config
